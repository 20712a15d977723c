//! The hostile programs: each is contained with all walls up and succeeds when its walls alone are left out; honest
//! programs run beside them; every line of the policy is held by one of either.
#![allow(clippy::unwrap_used)]

mod support;

#[path = "walls/contained.rs"]
mod contained;
#[path = "walls/held.rs"]
mod held;
#[path = "walls/needed.rs"]
mod needed;

use reckon_sandbox::{
    EngineConfig, PoolSize,
    hostile::{self, Ground, Program, Suite, Tried},
};
use support::House;

/// Small limits, and sandboxes ready that have them.
fn small(config: &mut EngineConfig) {
    config.limits = hostile::limits();
    config.pool = PoolSize { floor: 2, ceiling: 2, rooms: 0 };
}

/// Tries programs on an engine, and ends it.
async fn attempt(house: House, programs: &[Program]) -> Vec<Tried> {
    let ground = Ground::prepare(house.directory.path()).unwrap();
    let mut suite = Suite::begin(&house.engine, &ground, hostile::limits()).await.unwrap();
    let mut tried = Vec::new();
    for program in programs {
        let started = std::time::Instant::now();
        let one = suite.attempt(program).await.unwrap_or_else(|error| panic!("{}: {error}", program.id));
        assert!(house.engine.is_alive(), "the engine died of {}", program.id);
        eprintln!("{:30} {:5} ms {:?}", one.id, started.elapsed().as_millis(), one.verdict);
        tried.push(one);
    }
    suite.end().await.unwrap();
    house.close().await;
    tried
}
