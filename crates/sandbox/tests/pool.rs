//! What is made ahead of demand: sandboxes with a warm context, rooms for more, and how their number follows demand.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use reckon_protocol::{Limits, Status};
use reckon_sandbox::{EngineReport, PoolSize, SandboxSpec};
use support::{House, run};

/// Waits until the engine reports what is awaited; how long that takes is nobody's promise.
async fn until(house: &House, what: &str, is_so: impl Fn(&EngineReport) -> bool) {
    let begin = Instant::now();
    loop {
        let report = house.engine.report();
        if is_so(&report) {
            return;
        }
        let (pooled, rooms) = (report.pooled, report.rooms);
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {pooled} pooled, {rooms} rooms");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_waiting_room_becomes_a_sandbox_with_any_limits() {
    let test = "a_waiting_room_becomes_a_sandbox_with_any_limits";
    let size = PoolSize { floor: 0, ceiling: 0, rooms: 2 };
    let Some(house) = House::with(test, |config| config.pool = size).await else { return };
    until(&house, "rooms and no contexts", |report| (report.pooled, report.rooms) == (0, 2)).await;
    let plain = house.sandbox().await;
    let limits = Limits { open_files: 300, memory_bytes: 256 << 20, pids: 40, ..Limits::default() };
    let limited =
        house.engine.create(SandboxSpec { limits: Some(limits), time_to_live: None }).await.unwrap();
    let other_tmp = Limits { tmp_bytes: 2 << 20, ..Limits::default() };
    let own = house.engine.create(SandboxSpec { limits: Some(other_tmp), time_to_live: None }).await.unwrap();
    let code = "
import os, resource
open('note.txt', 'w').write('mine')
tmp = os.statvfs('/tmp')
print(os.getcwd(), sorted(os.listdir('.')), resource.getrlimit(resource.RLIMIT_NOFILE)[0], tmp.f_blocks * tmp.f_frsize >> 20)";
    for (sandbox, files, tmp) in
        [(&plain, Limits::default().open_files, 256), (&limited, 300, 256), (&own, 4096, 2)]
    {
        let outcome = run(sandbox, code).await;
        let expected = format!("/workspace ['note.txt'] {files} {tmp}\n");
        assert_eq!((outcome.status, outcome.stdout), (Status::Ok, expected));
        assert_eq!(sandbox.files().await.unwrap()[0].entry.name, "note.txt");
    }
    let outcome = run(&limited, "x = bytearray(400 << 20)").await;
    assert!(matches!(outcome.status, Status::OutOfMemory | Status::Error), "{outcome:?}");
    until(&house, "rooms are made anew", |report| (report.pooled, report.rooms) == (0, 2)).await;
    house.close().await;
}

#[tokio::test]
async fn the_pool_grows_with_demand_and_not_beyond_its_ceiling() {
    let test = "the_pool_grows_with_demand_and_not_beyond_its_ceiling";
    let size = PoolSize { floor: 1, ceiling: 3, rooms: 1 };
    let Some(house) = House::with(test, |config| config.pool = size).await else { return };
    until(&house, "at rest", |report| (report.pooled, report.rooms) == (1, 1)).await;
    for _ in 0..12 {
        let sandbox = house.sandbox().await;
        assert_eq!(run(&sandbox, "print(1)").await.stdout, "1\n");
        assert!(house.engine.delete(sandbox.id()).await.unwrap());
    }
    until(&house, "after demand", |report| report.pooled == 3 && report.rooms == 3).await;
    house.close().await;
}

#[tokio::test]
async fn a_burst_of_creates_succeeds_whole() {
    let test = "a_burst_of_creates_succeeds_whole";
    let size = PoolSize { floor: 2, ceiling: 4, rooms: 4 };
    let Some(house) = House::with(test, |config| config.pool = size).await else { return };
    let engine = &house.engine;
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let sandbox = engine.create(SandboxSpec::default()).await.unwrap();
                run(&sandbox, &format!("print({number})")).await.stdout
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("{number}\n"));
    }
    assert_eq!(engine.report().sandboxes, 32);
    house.close().await;
}
