//! `reckon ask` with the demo planner: the example prompts, their variations, and what happens
//! where there is no model.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use reckon_e2e::binary::{Place, Ran, assert_gone, descendants, signal};

/// Asks the demo planner and returns the answer as JSON.
fn ask(place: &Place, prompt: &str) -> serde_json::Value {
    let ran = place.run(&["ask", "--model", "demo", "--json", prompt]);
    assert_eq!(ran.code, Some(0), "{prompt}: {ran:?}");
    ran.json()
}

/// Returns the numbers that stand in a text, without thousands' commas.
fn numbers(text: &str) -> Vec<String> {
    let bare = text.replace(',', "");
    bare.split(|one: char| !one.is_ascii_digit() && one != '.')
        .map(|number| number.trim_matches('.').to_owned())
        .filter(|number| !number.is_empty())
        .collect()
}

/// Everything that the tool said.
fn tool_output(answer: &serde_json::Value) -> String {
    let runs = answer["runs"].as_array().expect("runs");
    let of_run = |run: &serde_json::Value| format!("{} {}", run["stdout"], run["results"]);
    runs.iter().map(of_run).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_prompts_are_answered_by_executed_python() {
    let Some(place) = Place::for_code("the_example_prompts_are_answered_by_executed_python") else { return };
    for (prompt, expected) in [
        ("Calculate 5 factorial using Python", &["120"][..]),
        ("Use Python to find all prime numbers under 20", &["2", "3", "5", "7", "11", "13", "17", "19"]),
        ("Create a list of the first 10 squares and calculate their sum", &["385"]),
        ("Generate sample sales data for 12 months and calculate quarterly totals", &[]),
        ("Implement a binary search function and test it with a sorted array", &[]),
        ("Calculate the standard deviation of [2, 4, 4, 4, 5, 5, 7, 9]", &["2"]),
        // The same with other numbers and other words.
        ("What is the factorial of 7?", &["5040"]),
        ("list every prime below 40", &["31", "37"]),
        ("sum of the first 6 squares", &["91"]),
        ("standard deviation of 1, 1, 1, 1", &["0"]),
    ] {
        let answer = ask(&place, prompt);
        let output = answer["output"].as_str().expect("an answer");
        let runs = answer["runs"].as_array().expect("runs");
        assert!(!runs.is_empty() && runs.iter().all(|run| run["status"] == "ok"), "{prompt}: {answer}");
        let told = numbers(&tool_output(&answer));
        for number in numbers(output) {
            let given = numbers(prompt).contains(&number);
            assert!(given || told.contains(&number), "{prompt}: {number} is not from the tool: {answer}");
        }
        for number in expected {
            let said = numbers(output)
                .iter()
                .any(|one| one == number || one.trim_end_matches('0').trim_end_matches('.') == *number);
            assert!(said, "{prompt}: {number} is not in {output:?}");
        }
        assert!(
            answer["model"].as_str().is_some_and(|model| model.contains("not a language model")),
            "{answer}"
        );
    }
}

#[test]
fn words_are_stdout_and_code_and_notes_are_stderr() {
    let Some(place) = Place::for_code("words_are_stdout_and_code_and_notes_are_stderr") else { return };
    let ran = place.run(&["ask", "--model", "demo", "Calculate", "6", "factorial"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("720") && !ran.stdout.contains('│'), "{ran:?}");
    assert!(ran.stderr.contains("  │ ") && ran.stderr.contains("720"), "{ran:?}");
    assert!(ran.stderr.contains("demo planner, not a language model"), "{ran:?}");
    assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'), "no colours in pipes: {ran:?}");
}

#[test]
fn a_prompt_is_read_from_stdin() {
    let Some(place) = Place::for_code("a_prompt_is_read_from_stdin") else { return };
    for arguments in [&["ask", "--model", "demo", "-"][..], &["ask", "--model", "demo"]] {
        let mut child =
            place.reckon(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(b"Calculate 4 factorial").expect("written");
        let ran = Ran::of(child.wait_with_output().expect("ends"));
        assert!(ran.stdout.contains("24"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(place.run(&["ask", "--model", "demo", "-"]).code, Some(2), "an empty prompt is refused");
}

#[test]
fn code_in_a_fence_runs_and_its_failure_is_exit_code_1() {
    let Some(place) = Place::for_code("code_in_a_fence_runs_and_its_failure_is_exit_code_1") else { return };
    let good = place.run(&["ask", "--model", "demo", "Run this:\n```python\nprint(21 * 2)\n```"]);
    assert!(good.code == Some(0) && good.stdout.contains("42"), "{good:?}");
    let bad = place.run(&["ask", "--model", "demo", "Run this:\n```python\nprint(1 // 0)\n```"]);
    assert!(bad.code == Some(1) && bad.stderr.contains("ZeroDivisionError"), "{bad:?}");
}

#[test]
fn an_attached_table_is_described() {
    let Some(place) = Place::for_code("an_attached_table_is_described") else { return };
    fs::write(place.path("sales.csv"), "month,amount\n1,10\n2,30\n3,80\n").expect("written");
    let ran =
        place.run(&["ask", "--model", "demo", "--json", "-f", "sales.csv", "Describe the attached CSV"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(tool_output(&ran.json()).contains("40"), "the mean of the amounts: {ran:?}");
}

#[test]
fn the_demo_planner_refuses_what_it_does_not_know() {
    let Some(place) = Place::for_code("the_demo_planner_refuses_what_it_does_not_know") else { return };
    let answer = ask(&place, "Write a poem about the sea");
    assert_eq!(answer["runs"].as_array().map(Vec::len), Some(0), "{answer}");
    assert!(answer["output"].as_str().is_some_and(|text| text.contains("model")), "{answer}");
}

#[test]
fn a_configured_model_that_is_down_is_an_error_and_never_the_demo_planner() {
    let Some(place) =
        Place::for_code("a_configured_model_that_is_down_is_an_error_and_never_the_demo_planner")
    else {
        return;
    };
    // Bound and dropped: nobody listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port();
    let url = format!("http://127.0.0.1:{port}/v1");
    let ran = place.run(&["ask", "--model", "any", "--base-url", &url, "Calculate 5 factorial"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("error: ") && ran.stderr.contains("hint: "), "{ran:?}");
    assert!(!ran.stderr.contains("demo planner") && !ran.stdout.contains("120"), "{ran:?}");
}

#[test]
fn local_refuses_a_model_elsewhere_before_anything_is_sent() {
    let place = Place::new();
    // TEST-NET-1 (RFC 5737): nobody answers there, so an attempt to send would not fail at once.
    let ran = place.run(&[
        "ask",
        "--local",
        "--model",
        "any",
        "--base-url",
        "http://192.0.2.1/v1",
        "Calculate 5 factorial",
    ]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("hint: "), "{ran:?}");
}

#[test]
fn the_intents_of_the_demo_planner_are_listed() {
    let place = Place::new();
    let shown = place.run(&["models", "show", "demo"]);
    assert!(shown.code == Some(0) && shown.stdout.contains("not a language model"), "{shown:?}");
    let json = place.run(&["models", "show", "demo", "--json"]).json();
    assert!(json["intents"].as_array().is_some_and(|intents| intents.len() >= 8), "{json}");
}

#[test]
fn a_plot_comes_out_once() {
    let Some(place) = Place::for_code("a_plot_comes_out_once") else { return };
    let prompt = "```python\nimport matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()\n```";
    let ran = place.run(&["ask", "--model", "demo", "--out", "plots", prompt]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let saved: Vec<_> = fs::read_dir(place.path("plots")).expect("made").flatten().collect();
    assert_eq!(saved.len(), 1, "{saved:?} {ran:?}");
    assert!(fs::read(saved[0].path()).expect("read").starts_with(b"\x89PNG"));
    assert!(ran.stderr.contains(&format!("saved plots/{}", saved[0].file_name().display())), "{ran:?}");
}

#[test]
fn ctrl_c_ends_a_turn_and_leaves_nothing() {
    let Some(place) = Place::for_code("ctrl_c_ends_a_turn_and_leaves_nothing") else { return };
    let prompt = "```python\nimport time\nprint('on', flush=True)\ntime.sleep(600)\n```";
    let mut child =
        place.reckon(&["ask", "--model", "demo", prompt]).stdout(Stdio::null()).spawn().expect("starts");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut below = BTreeSet::new();
    for line in stderr.lines().map_while(Result::ok) {
        if line == "    on" {
            below = descendants(child.id());
            signal(&child, "INT");
        }
    }
    assert!(!below.is_empty(), "the code ran in processes of its own");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert_gone(&below);
}
