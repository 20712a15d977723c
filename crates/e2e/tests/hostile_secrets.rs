//! A secret in the server's environment and memory is found in no process below it: not in the warden, the zygote or
//! a context, neither in their environment nor anywhere in their memory.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use reckon_e2e::binary::{Place, descendants, signal};

/// Searches the environment and all readable memory of the processes named; prints pid, command and `found` or not.
/// In Python, since a debug build of ours would take minutes.
const SEARCH: &str = r#"
import sys
secret = sys.stdin.buffer.read()
for pid in sys.argv[1:]:
    try:
        with open(f"/proc/{pid}/comm") as file:
            name = file.read().strip()
        with open(f"/proc/{pid}/environ", "rb") as file:
            found = secret in file.read()
        read = 0
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                place, access = line.split()[:2]
                start, end = (int(part, 16) for part in place.split("-"))
                if "r" not in access or start >= 1 << 63:
                    continue
                tail = b""
                while start < end:
                    try:
                        memory.seek(start)
                        part = memory.read(min(end - start, 1 << 24))
                    except OSError:
                        break
                    if not part:
                        break
                    found = found or secret in tail + part
                    tail, start, read = part[-len(secret):], start + len(part), read + len(part)
        print(pid, name, read, "found" if found else "clean")
    except FileNotFoundError:
        print(pid, "gone", 0, "clean")
"#;

/// Returns for each process its command, the bytes of it that were read, and whether the secret was among them.
fn search(secret: &str, pids: &[u32]) -> Vec<(String, u64, bool)> {
    let mut command = Command::new("python3");
    command.args(["-I", "-c", SEARCH]).args(pids.iter().map(u32::to_string));
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs; install it with `sudo apt-get install python3`");
    child.stdin.take().expect("piped").write_all(secret.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the search failed");
    let text = String::from_utf8(output.stdout).expect("text");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .map(words)
        .map(|line| {
            let read = line[line.len() - 2].parse().expect("a number");
            (line[1..line.len() - 2].join(" "), read, line[line.len() - 1] == "found")
        })
        .collect()
}

#[test]
fn no_secret_of_the_server_is_in_the_zygote_or_below() {
    let test = "no_secret_of_the_server_is_in_the_zygote_or_below";
    let Some(place) = Place::for_code(test) else { return };
    if !is_root() {
        return reckon_e2e::skip(
            "isolation-root",
            test,
            "only root reads other processes: run the tests as root",
        );
    }
    // Put together at run time: the secret as a whole is in no program's text.
    let secret = format!("sk-{}-{}", std::process::id(), "planted".repeat(3));
    let mut command = place.reckon(&["serve", "--listen", "127.0.0.1:0", "--model", "demo"]);
    command.env("OPENAI_API_KEY", &secret).env("DATABASE_PASSWORD", &secret);
    let mut child = command.spawn().expect("starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = stderr
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
        .expect("it listens");
    let answer = run(&address, "```python\nimport os; print(sorted(os.environ), 6 * 7)\n```");
    assert!(answer.contains("42") && !answer.contains("PASSWORD"), "{answer}");

    let below: Vec<u32> = descendants(child.id()).into_iter().map(|(pid, _)| pid).collect();
    let found = search(&secret, &below);
    let server = search(&secret, &[child.id()]);
    signal(&child, "TERM");
    stderr.map_while(Result::ok).for_each(drop);
    child.wait().expect("it ends");

    assert!(server[0].2, "the search finds what is there: {server:?}");
    let pythons: Vec<_> = found.iter().filter(|(name, ..)| name.starts_with("python")).collect();
    assert!(pythons.len() >= 2, "a zygote and a context: {found:?}");
    assert!(pythons.iter().all(|(_, read, _)| *read > 10 << 20), "their memory was read: {found:?}");
    assert!(found.iter().any(|(name, ..)| name == "reckon-warden"), "{found:?}");
    assert!(found.iter().all(|(.., hit)| !hit), "{found:?}");
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|text| text.lines().any(|line| line.starts_with("Uid:\t0\t")))
}

/// Posts a prompt to `/run` and returns the whole answer.
fn run(address: &str, prompt: &str) -> String {
    let body = serde_json::json!({"input": prompt}).to_string();
    let mut stream = TcpStream::connect(address).expect("connects");
    write!(
        stream,
        "POST /run HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
