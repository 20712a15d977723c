//! The zygote over time: it is replaced when it has grown old, and nobody notices but by what it made common.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use reckon_protocol::Status;
use support::{House, run};

#[tokio::test]
async fn an_old_zygote_is_replaced_and_contexts_of_both_go_on() {
    let test = "an_old_zygote_is_replaced_and_contexts_of_both_go_on";
    let age = Duration::from_millis(1);
    let Some(house) = House::with(test, |config| config.zygote_age = age).await else { return };
    // Python's hashes have a secret, which is drawn when the zygote starts.
    let code = "print(hash('reckon'))";
    let first = house.sandbox().await;
    run(&first, "kept = 41").await;
    let secret = run(&first, code).await.stdout;
    let begin = Instant::now();
    loop {
        let next = house.sandbox().await;
        let outcome = run(&next, code).await;
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        if outcome.stdout != secret {
            break;
        }
        assert!(house.engine.delete(next.id()).await.unwrap());
        assert!(begin.elapsed() < Duration::from_secs(120), "the zygote is never replaced");
    }
    assert_eq!(run(&first, "print(kept + 1)").await.stdout, "42\n");
    assert_eq!(run(&first, code).await.stdout, secret, "a context keeps the secret it was born with");
    house.close().await;
}

#[tokio::test]
async fn a_zygote_of_no_age_is_kept() {
    let Some(house) = House::open("a_zygote_of_no_age_is_kept").await else { return };
    let mut secrets = Vec::new();
    for _ in 0..4 {
        secrets.push(run(&house.sandbox().await, "print(hash('reckon'))").await.stdout);
    }
    secrets.dedup();
    assert_eq!(secrets.len(), 1);
    house.close().await;
}
