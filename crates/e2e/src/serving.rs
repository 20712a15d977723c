//! A running `reckon serve` as the tests hold it: its first lines, a request, its end.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
};

use crate::binary::{Place, descendants, signal};

/// A running server.
#[derive(Debug)]
pub struct Serving {
    /// The process.
    pub child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    /// The lines before it was ready.
    pub said: String,
    /// Where it listens.
    pub address: String,
}

impl Serving {
    /// Starts a server on a free port, unless the arguments name one, and waits for its line.
    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::of(place.reckon(&Self::arguments(arguments)))
    }

    /// The same through a program that executes what its further arguments say.
    pub fn start_by(place: &Place, mut wrapper: Command, arguments: &[&str]) -> Self {
        let command = place.reckon(&Self::arguments(arguments));
        wrapper.arg(command.get_program()).args(command.get_args()).env_clear();
        wrapper.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapper.current_dir(place.path(".")).stdin(std::process::Stdio::null());
        wrapper.stderr(std::process::Stdio::piped());
        Self::of(wrapper)
    }

    fn arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
        let listen: &[&str] =
            if arguments.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        ["serve"].iter().chain(listen).chain(arguments).copied().collect()
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("starts");
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
    pub fn run(&self, prompt: &str) -> String {
        let body = serde_json::json!({"input": prompt}).to_string();
        let length = body.len();
        let head =
            format!("POST /run HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}");
        self.ask(&head, &body)
    }

    /// Gets a path and returns the whole answer, head and body.
    pub fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1"), "")
    }

    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        write!(stream, "{head}\r\nHost: {}\r\nConnection: close\r\n\r\n{body}", self.address).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// Ends the server by a signal; returns its exit code and the processes it had.
    pub fn end(mut self, name: &str) -> (Option<i32>, BTreeSet<(u32, u64)>) {
        let below = descendants(self.child.id());
        signal(&self.child, name);
        // Read to the end, so that its last lines never block it.
        self.stderr.by_ref().map_while(Result::ok).for_each(drop);
        (self.child.wait().expect("ends").code(), below)
    }
}
