//! With all walls up every hostile program is contained, every honest one runs, and a neighbour answers after each.

use reckon_sandbox::hostile::{self, Program, Verdict};

use super::{House, attempt, small};

fn of_categories(categories: &[&str]) -> Vec<Program> {
    let all = hostile::programs().unwrap().into_iter();
    all.filter(|program| categories.contains(&program.category)).collect()
}

/// Asserts that all programs of these categories are contained, and that a neighbour answers after each.
async fn assert_contained(test: &str, categories: &[&str]) {
    let Some(house) = House::with(test, small).await else { return };
    let mut failures = Vec::new();
    for tried in attempt(house, &of_categories(categories)).await {
        if !tried.sandbox_usable {
            failures.push(format!("{}: its sandbox runs no honest code afterwards", tried.id));
        }
        match tried.verdict {
            Verdict::Contained(_) if tried.neighbour_answers => {}
            // What this host's kernel lacks cannot be tried; the test without the wall says so by its failure.
            Verdict::CouldNotRun(ref why) if why.contains("this kernel") || why.contains("this host") => {}
            verdict => failures.push(format!("{}: {verdict:?}", tried.id)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn honest_programs_run_with_all_walls_up() {
    assert_contained("honest_programs_run_with_all_walls_up", &["control"]).await;
}

#[tokio::test]
async fn files_of_the_host_are_out_of_reach() {
    assert_contained("files_of_the_host_are_out_of_reach", &["filesystem", "proc"]).await;
}

#[tokio::test]
async fn namespaces_and_capabilities_are_out_of_reach() {
    assert_contained("namespaces_and_capabilities_are_out_of_reach", &["namespaces", "capabilities"]).await;
}

#[tokio::test]
async fn system_calls_and_the_network_are_out_of_reach() {
    assert_contained("system_calls_and_the_network_are_out_of_reach", &["syscalls", "network"]).await;
}

#[tokio::test]
async fn resources_are_bounded() {
    assert_contained("resources_are_bounded", &["resources"]).await;
}

#[tokio::test]
async fn processes_and_output_are_contained() {
    assert_contained("processes_and_output_are_contained", &["life", "output"]).await;
}

#[tokio::test]
async fn the_channel_and_the_workspace_are_no_traps() {
    assert_contained("the_channel_and_the_workspace_are_no_traps", &["channel", "workspace"]).await;
}

#[tokio::test]
async fn siblings_do_not_reach_each_other() {
    assert_contained("siblings_do_not_reach_each_other", &["siblings"]).await;
}
