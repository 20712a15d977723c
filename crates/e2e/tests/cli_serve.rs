//! `reckon serve` as a process: its first lines, a request, its end.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStderr},
};

use reckon_e2e::binary::{Place, assert_gone, descendants, signal};

/// A running server.
struct Serving {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    /// The lines before it was ready.
    said: String,
    address: String,
}

impl Serving {
    /// Starts a server on a free port and waits for its line.
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.reckon(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(arguments).spawn().expect("starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let mut address = None;
        for line in stderr.by_ref().map_while(Result::ok) {
            address = line.strip_prefix("listening on http://").map(str::to_owned);
            if address.is_some() {
                break;
            }
            said.push_str(&line);
            said.push('\n');
        }
        let Some(address) = address else {
            let status = child.wait().expect("ends");
            panic!("it ended before it listened: {status}: {said}");
        };
        Self { child, stderr, said, address }
    }

    /// Posts a prompt to `/run` and returns the whole answer, head and body.
    fn run(&self, prompt: &str) -> String {
        let body = serde_json::json!({"input": prompt}).to_string();
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        write!(
            stream,
            "POST /run HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// Ends the server by a signal; returns its exit code and the processes it had.
    fn end(mut self, name: &str) -> (Option<i32>, BTreeSet<(u32, u64)>) {
        let below = descendants(self.child.id());
        signal(&self.child, name);
        // Read to the end, so that its last lines never block it.
        self.stderr.by_ref().map_while(Result::ok).for_each(drop);
        (self.child.wait().expect("ends").code(), below)
    }
}

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
