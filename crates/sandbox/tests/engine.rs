//! The engine through its public API, against the real kernel.
#![allow(clippy::unwrap_used)]

mod support;

use reckon_protocol::Status;
use support::{House, run};

#[tokio::test]
async fn a_cell_prints_and_shows_its_last_value() {
    let Some(house) = House::open("a_cell_prints_and_shows_its_last_value").await else { return };
    let sandbox = house.sandbox().await;
    let outcome = run(&sandbox, "print('hello')\n6 * 7").await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert_eq!(outcome.stdout, "hello\n");
    assert_eq!(outcome.results[0]["text/plain"], "42");
    house.close().await;
}
