//! `reckon serve` as a process: its first lines, a request, its end.

use reckon_e2e::{
    binary::{Place, assert_gone},
    serving::Serving,
};

#[test]
fn a_server_says_what_it_is_answers_and_leaves_nothing() {
    let Some(place) = Place::for_code("a_server_says_what_it_is_answers_and_leaves_nothing") else { return };
    for name in ["TERM", "INT"] {
        let serving = Serving::start(&place, &["--model", "demo"]);
        for line in ["model: ", "not a language model", "image: core-", "isolation: room"] {
            assert!(serving.said.contains(line), "{line}: {}", serving.said);
        }
        let answer = serving.run("Calculate 5 factorial using Python");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("120"), "{answer}");
        let (code, below) = serving.end(name);
        assert_eq!(code, Some(0), "{name}");
        assert!(!below.is_empty(), "it had a warden and a zygote");
        assert_gone(&below);
    }
}

#[test]
fn a_killed_server_leaves_no_process() {
    let Some(place) = Place::for_code("a_killed_server_leaves_no_process") else { return };
    let serving = Serving::start(&place, &["--model", "demo"]);
    let (code, below) = serving.end("KILL");
    assert_eq!(code, None);
    assert!(!below.is_empty(), "it had a warden and a zygote");
    assert_gone(&below);
}

#[test]
fn two_servers_share_neither_a_port_nor_a_directory() {
    let Some(place) = Place::for_code("two_servers_share_neither_a_port_nor_a_directory") else { return };
    let first = Serving::start(&place, &["--model", "demo"]);
    let same_port = place.run(&["serve", "--model", "demo", "--listen", &first.address, "--data", "other"]);
    assert_eq!(same_port.code, Some(2));
    assert!(same_port.stderr.contains("hint: choose another port"), "{}", same_port.stderr);
    let same_data = place.run(&["serve", "--model", "demo", "--listen", "127.0.0.1:0"]);
    assert_eq!(same_data.code, Some(2));
    assert!(same_data.stderr.contains("another server works in"), "{}", same_data.stderr);
    // A one-shot command beside a server disturbs neither.
    assert_eq!(place.run(&["exec", "-c", "print(1)"]).stdout, "1\n");
    assert!(first.run("Calculate 3 factorial").contains('6'));
    assert_gone(&first.end("TERM").1);
}

#[test]
fn beyond_loopback_a_key_is_needed() {
    let ran = Place::new().run(&["serve", "--model", "demo", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("needs a key") && ran.stderr.contains("hint: "), "{}", ran.stderr);
}
