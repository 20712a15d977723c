//! The soak: sandboxes made, used and destroyed by the hundred, while their processes, the zygote, the nursery and the
//! warden are killed at random; and what is left of it all. `cargo xtask soak` runs the long form.
//! The only test of its program, because descriptors and children are counted for the process as a whole.
#![allow(clippy::unwrap_used)]

mod census;
mod chaos;
mod dice;
mod life;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use census::{Census, Stock};
use chaos::Victim;
use dice::Dice;
use life::Tally;
use reckon_sandbox::{Engine, PoolSize};
use serde_json::json;
use support::House;

/// Sandboxes in the form that runs with every change.
const COUNT: u64 = 500;
/// Lives that go on at once: more than the processors here, fewer than make a life wait for seconds.
const AT_ONCE: usize = 6;
/// Kept warm; the quiet engine's stock is measured with it.
const POOL: usize = 2;
/// Longer than anything here takes on a machine under load: what is slower hangs. The engine itself waits a minute for a
/// context that is stopped before it is warm, and as long for a warden that does not answer.
const HANG: Duration = Duration::from_secs(300);

/// Who is killed once in every run, and after how many eighths of it: chance alone might spare them in a short one.
const DUE: [(u64, Victim); 3] = [(2, Victim::Zygote), (4, Victim::Nursery), (6, Victim::Warden)];

/// How much the server's resident memory may grow between the first quiet and the last. What it holds is bounded by
/// what lives, which is the same at both; the allocator's arenas, one for each thread that ever did blocking work,
/// keep some megabytes more than they use. A leak of one kilobyte for each sandbox would show in the long form.
const GROWTH: u64 = 6 * 1024 * 1024;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[tokio::test]
async fn nothing_is_left_of_many_sandboxes_whose_processes_were_killed_at_random() {
    let test = "nothing_is_left_of_many_sandboxes_whose_processes_were_killed_at_random";
    let before = census::descriptors();
    let Some(house) =
        House::with(test, |config| config.pool = PoolSize { floor: POOL, ceiling: POOL, rooms: 0 }).await
    else {
        return;
    };
    let (count, seed) = (setting("RECKON_SOAK_COUNT", COUNT), setting("RECKON_SOAK_SEED", dice::any_seed()));
    println!("seed {seed}: RECKON_SOAK_SEED={seed} repeats these decisions");
    let begun = Instant::now();
    let mut census = Census::of(house.directory.path());
    let mut tally = Tally::default();

    // What the first sandboxes leave warm is not growth: a tenth of all, without and then with killing.
    let warming = (count / 10).max(20);
    live(&house, &mut Dice::new(seed), warming, &mut tally, &mut census).await;
    let first = quiet(&house, &mut census).await;
    live(&house, &mut Dice::new(seed.wrapping_add(1)), count - warming, &mut tally, &mut census).await;
    let last = quiet(&house, &mut census).await;

    // Everything works as if nothing had happened.
    for _ in 0..3 {
        life::plain(&house.engine).await;
    }
    quiet(&house, &mut census).await;
    let growth = last.resident.saturating_sub(first.resident);
    println!("{count} sandboxes in {:?}: {tally:?}", begun.elapsed());
    println!("first {first:?}, last {last:?}");
    report::add(&json!({
        "soak": {
            "sandboxes": count, "seed": seed, "seconds": begun.elapsed().as_secs_f64(),
            "executions": tally.executions, "disturbed": tally.disturbed, "killed": tally.killed,
            "resident_first_bytes": first.resident, "resident_last_bytes": last.resident,
            "descriptors_first": first.descriptors, "descriptors_last": last.descriptors,
        }
    }));
    assert!(tally.killed.values().sum::<u64>() > 0, "something was killed");
    assert_eq!(first.descriptors, last.descriptors, "descriptors are as many as at first");
    assert!(growth <= GROWTH, "{} KiB more than at first", growth / 1024);

    let House { engine, directory } = house;
    engine.shutdown().await;
    drop(engine);
    census.nothing_is_left();
    assert_eq!(census::descriptors(), before, "descriptors after the end");
    drop(directory);
}

/// Lives so many lives, several at once, with a killing now and then.
async fn live(house: &House, dice: &mut Dice, count: u64, tally: &mut Tally, census: &mut Census) {
    let mut lives = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for number in 0..count {
        while lives.len() >= AT_ONCE {
            tally.add(lives.join_next().await.unwrap().unwrap());
        }
        let due = DUE.iter().find(|(part, _)| number == count * part / 8).map(|(_, victim)| *victim);
        if let Some(victim) = due.or_else(|| Victim::choose(dice)) {
            census.look();
            if chaos::kill(victim) {
                tally.note_kill(victim);
            }
        }
        lives.spawn(life::life(house.engine.clone(), dice.split()));
        if number % 25 == 0 {
            census.look();
        }
        if number % 100 == 99 {
            println!("{} lives begun, {:?} since the start of this part", number + 1, begun.elapsed());
        }
    }
    while let Some(ended) = lives.join_next().await {
        tally.add(ended.unwrap());
    }
}

/// Waits until nothing is there but what the pool holds, and returns what that is.
async fn quiet(house: &House, census: &mut Census) -> Stock {
    census.look();
    let begun = Instant::now();
    loop {
        if is_quiet(&house.engine, census) {
            return Stock::take();
        }
        assert!(
            begun.elapsed() < HANG,
            "it does not come to rest: {}",
            census.describe(&house.engine.directory())
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_quiet(engine: &Engine, census: &Census) -> bool {
    let report = engine.report();
    report.sandboxes == 0 && report.pooled == POOL && census.is_at_rest(POOL, &engine.directory())
}
