//! Bytes that no honest client sends: each is answered as documented or hung up on, nothing that is smuggled in is
//! ever answered, nothing hangs, and others are served meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use support::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The server hangs up on whoever is silent for 15 s; three times that is a hang, also on a machine under load.
const HANG: Duration = Duration::from_secs(60);

/// Makes a sandbox when it is answered, which is how the tests know that it was.
const SMUGGLED: &str = "POST /api/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

/// Sends bytes and reads until the server hangs up.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let writing = async {
        // A server that refuses early does not read the rest.
        let _ = writer.write_all(bytes).await;
        writer
    };
    let mut said = Vec::new();
    let reading = reader.read_to_end(&mut said);
    let (_, ended) = tokio::join!(writing, tokio::time::timeout(HANG, reading));
    assert!(ended.is_ok(), "{:.200}: the server does not hang up", String::from_utf8_lossy(bytes));
    String::from_utf8_lossy(&said).into_owned()
}

fn statuses(said: &str) -> Vec<u16> {
    said.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

/// A request with these lines in its head, `Host` among them, and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /api/sandboxes/none/executions HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

const JSON: &str = "Content-Type: application/json\r\n";

/// A request whose framing can be understood in two ways; what follows is a request in one of them.
fn framing() -> Vec<(&'static str, String)> {
    let chunked = |coding: &str, body: &str| post(&format!("{JSON}Transfer-Encoding: {coding}\r\n"), body);
    let length =
        |length: &str| post(&format!("{JSON}Content-Length: {length}\r\n"), &format!("{{}}{SMUGGLED}"));
    let chunks = |body: &str| chunked("chunked", &format!("{body}{SMUGGLED}"));
    let both = |lines: &str| post(&format!("{JSON}{lines}"), &format!("0\r\n\r\n{SMUGGLED}"));
    vec![
        ("two lengths", length("2\r\nContent-Length: 100")),
        ("a list of lengths", length("2, 100")),
        ("a negative length", length("-1")),
        ("a signed length", length("+2")),
        ("a hexadecimal length", length("0x2")),
        ("a length in two parts", length("2 2")),
        ("a length beyond 64 bits", length("18446744073709551618")),
        ("an empty length", length("")),
        ("a length that is a word", length("two")),
        ("length, then chunks", both("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n")),
        ("chunks, then length", both("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n")),
        ("chunked before another coding", chunked("chunked, identity", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("no coding", chunked("identity", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("a coding like chunked", chunked("xchunked", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("a coding with a parameter", chunked("chunked;q=1", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("two codings", chunked("gzip, chunked", &format!("0\r\n\r\n{SMUGGLED}"))),
        (
            "the coding twice",
            chunked("chunked\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{SMUGGLED}")),
        ),
        ("a vertical tab", chunked("\u{b}chunked", &format!("0\r\n\r\n{SMUGGLED}"))),
        ("a blank before the colon", both("Transfer-Encoding : chunked\r\nContent-Length: 6\r\n")),
        ("chunks in HTTP/1.0", chunks("0\r\n\r\n").replace("executions HTTP/1.1", "executions HTTP/1.0")),
        ("a chunk of negative size", chunks("-1\r\n")),
        ("a chunk size of 17 digits", chunks("10000000000000002\r\n{}\r\n0\r\n\r\n")),
        ("a chunk size with 0x", chunks("0x2\r\n{}\r\n0\r\n\r\n")),
        ("a chunk size with a blank inside", chunks("0 2\r\n{}\r\n0\r\n\r\n")),
        ("a chunk without its end", chunks("2\r\n{}0\r\n\r\n")),
        ("a chunk with a longer end", chunks("2\r\n{}xx\r\n0\r\n\r\n")),
        ("a chunk size that ends with LF", chunks("2\n{}\r\n0\r\n\r\n")),
        ("a chunk extension with a line", chunks("2;a=\nb\r\n{}\r\n0\r\n\r\n")),
        ("a chunk extension without end", chunks(&format!("2;{}", "x".repeat(100_000)))),
        ("trailers without end", chunks(&format!("0\r\n{}", "A: b\r\n".repeat(50_000)))),
        ("an empty chunk size", chunks("\r\n{}\r\n0\r\n\r\n")),
    ]
}

#[tokio::test]
async fn what_can_be_framed_in_two_ways_smuggles_nothing() {
    let door = door!(what_can_be_framed_in_two_ways_smuggles_nothing, []);
    let cases = framing();
    let said = join_all(cases.iter().map(|(_, bytes)| raw(door.address, bytes.as_bytes()))).await;
    for ((name, _), said) in cases.iter().zip(&said) {
        let statuses = statuses(said);
        // Refused by the framing, or understood as one request for a sandbox that is not there.
        assert!(statuses.len() <= 1, "{name}: {said}");
        assert!(statuses.iter().all(|status| [400, 404, 408, 413, 415].contains(status)), "{name}: {said}");
    }
    assert_eq!(door.engine().sandboxes().len(), 0, "a smuggled request was answered");
    assert_eq!(door.get("/health").await.status, 200);
    door.close().await;
}

#[tokio::test]
async fn heads_that_are_none_are_refused() {
    let door = door!(heads_that_are_none_are_refused, []);
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let header = |header: &str| {
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n")
    };
    // What may be said; nothing at all is a hang-up, which HTTP allows for what is not HTTP.
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("no version", line("GET /health").into(), &[400]),
        ("an unknown version", line("GET /health HTTP/9.9").into(), &[400, 505]),
        ("a version of three", line("GET /health HTTP/1.1.1").into(), &[400]),
        ("two blanks", line("GET  /health HTTP/1.1").into(), &[400]),
        ("a tab", line("GET\t/health\tHTTP/1.1").into(), &[400]),
        ("a method with a bracket", line("G[T /health HTTP/1.1").into(), &[400]),
        ("a small method", line("get /health HTTP/1.1").into(), &[405]),
        ("a long method", line(&format!("{} /health HTTP/1.1", "M".repeat(5000))).into(), &[400, 405, 431]),
        ("a long path", line(&format!("GET /{} HTTP/1.1", "p".repeat(70_000))).into(), &[414, 431]),
        (
            "100,000 query parameters",
            line(&format!("GET /health?{} HTTP/1.1", "a=1&".repeat(100_000))).into(),
            &[414, 431],
        ),
        ("a relative path", line("GET health HTTP/1.1").into(), &[400, 404]),
        ("dot segments", line("GET /../../etc/passwd HTTP/1.1").into(), &[404]),
        ("a NUL in the path", line("GET /he\0alth HTTP/1.1").into(), &[400]),
        ("another host's address", line("GET http://evil.example/health HTTP/1.1").into(), &[200, 400, 403]),
        ("an asterisk", line("OPTIONS * HTTP/1.1").into(), &[400, 404, 405]),
        ("a tunnel", line("CONNECT evil.example:443 HTTP/1.1").into(), &[400, 404, 405]),
        ("a folded header", header("A: b\r\n c").into(), &[400]),
        ("a NUL in a value", header("A: b\0c").into(), &[400]),
        ("a bare CR in a value", header("A: b\rc").into(), &[400]),
        ("no colon", header("A").into(), &[400]),
        ("a name with a blank", header("A b: c").into(), &[400]),
        ("an empty name", header(": c").into(), &[400]),
        ("a name that is not ASCII", header("Ü: c").into(), &[400]),
        ("a header of 64 KiB", header(&format!("A: {}", "x".repeat(65_536))).into(), &[431]),
        ("1,000 headers", header(&"A: b\r\n".repeat(1000)).into(), &[400, 431]),
        ("two hosts", header("Host: localhost").into(), &[400]),
        ("another host", header("A: b").replace("Host: localhost", "Host: evil.example").into(), &[403]),
        ("no host", "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &[400]),
        (
            "HTTP/2 with prior knowledge",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            &[400, 505],
        ),
        ("a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".repeat(20), &[400]),
        ("noise", (0..=255_u8).rev().cycle().take(4096).collect(), &[400]),
        ("blank lines", b"\r\n".repeat(20_000), &[400, 431]),
    ];
    let said = join_all(cases.iter().map(|(_, bytes, _)| raw(door.address, bytes))).await;
    for ((name, _, expected), said) in cases.iter().zip(&said) {
        let statuses = statuses(said);
        assert!(statuses.len() <= 1, "{name}: {said}");
        assert!(statuses.iter().all(|status| expected.contains(status)), "{name}: {said}");
    }
    let answered = said.iter().filter(|said| !said.is_empty()).count();
    assert!(answered > cases.len() / 2, "most are told what is wrong: {answered}");
    assert_eq!(door.get("/health").await.status, 200);
    door.close().await;
}

#[tokio::test]
async fn sizes_are_refused_before_they_are_read() {
    let door = door!(sizes_are_refused_before_they_are_read, []);
    let sandbox = door.sandbox().await;
    let run = format!("/api/sandboxes/{sandbox}/executions");
    let file = format!("/api/sandboxes/{sandbox}/files/big");
    // Announced, and not a byte of it sent.
    for (method, path, kind) in
        [("POST", "/run", JSON), ("POST", run.as_str(), JSON), ("PUT", file.as_str(), "")]
    {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: 1073741824\r\n\r\n"
        );
        let said = raw(door.address, head.as_bytes()).await;
        assert_eq!(statuses(&said), [413], "{path}: {said}");
    }
    // The same in chunks, for as long as the server takes them.
    let head = format!("POST {run} HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n");
    let (mut reader, mut writer) = TcpStream::connect(door.address).await.unwrap().into_split();
    writer.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0_usize;
    while sent < 1 << 30 && writer.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
    }
    // The answer may be lost with the connection that still has bytes on their way.
    let mut said = Vec::new();
    let _ = reader.read_to_end(&mut said).await;
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert!(statuses(&String::from_utf8_lossy(&said)).iter().all(|status| *status == 413));
    // A bomb is not unpacked.
    let bomb =
        Request::new("POST", &run).header("Content-Type", "application/json").body(&[0x1f, 0x8b, 8, 0]);
    assert_eq!(door.send(bomb.header("Content-Encoding", "gzip")).await.status, 415);
    assert_eq!(door.execute(&sandbox, "1").await["status"], "ok");
    door.close().await;
}

#[tokio::test]
async fn the_slow_are_hung_up_on_and_others_are_served() {
    let door = door!(the_slow_are_hung_up_on_and_others_are_served, []);
    let sandbox = door.sandbox().await;
    let address = door.address;
    let head = "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let file = format!("PUT /api/sandboxes/{sandbox}/files/slow HTTP/1.1\r\nHost: localhost\r\n");
    let whole = |start: String| async move { statuses(&raw(address, start.as_bytes()).await) };
    let idle = join_all((0..100).map(|_| whole(String::new())));
    let heads = join_all((0..100).map(|number| whole(head[..head.len() - number % 20].to_owned())));
    let bodies = join_all((0..50).map(|_| whole(format!("{head}Content-Length: 100\r\n\r\n{{\"input\": "))));
    let uploads = join_all((0..10).map(|_| whole(format!("{file}Content-Length: 100\r\n\r\nhalf"))));
    let slow = async { tokio::join!(idle, heads, bodies, uploads) };
    let mut slow = std::pin::pin!(slow);
    let mut served = 0;
    let (idle, heads, bodies, uploads) = loop {
        tokio::select! {
            ended = &mut slow => break ended,
            outcome = door.execute(&sandbox, "1") => {
                assert_eq!(outcome["status"], "ok");
                served += 1;
            }
        }
    };
    assert!(served > 0, "others are served beside 260 slow callers");
    assert!(idle.iter().all(Vec::is_empty), "{idle:?}");
    assert!(heads.iter().flatten().all(|status| *status == 408), "{heads:?}");
    assert!(bodies.iter().all(|said| *said == [408]), "{bodies:?}");
    // Some places for uploads are taken by the slow; the others are told so at once.
    assert!(uploads.iter().all(|said| *said == [408] || *said == [503]), "{uploads:?}");
    door.close().await;
}

/// Counts the connections that a server on this port has not closed, as the kernel knows them: established, or closed
/// by the other side only.
fn held(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[1].ends_with(&local) && ["01", "08"].contains(&fields[3]))
        .count()
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing() {
    let door = door!(connections_that_come_and_go_leave_nothing, []);
    assert_eq!(door.get("/health").await.status, 200);
    for round in 0..40 {
        let callers = (0..50).map(|number| async move {
            let mut stream = TcpStream::connect(door.address).await.unwrap();
            match number % 4 {
                0 => {}
                1 => drop(stream.write_all(b"GET /hea").await),
                2 => drop(stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await),
                // Closed with bytes unread, which is a reset.
                _ => drop(stream.write_all(SMUGGLED.replace("/api/sandboxes", "/run").as_bytes()).await),
            }
            round
        });
        join_all(callers).await;
    }
    assert_eq!(door.get("/health").await.status, 200);
    let ended = async {
        while held(door.address.port()) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, ended).await.expect("the connections are closed");
    door.close().await;
}

#[tokio::test]
async fn connections_that_ask_for_nothing_give_way() {
    let config = reckon_server::ServerConfig { max_connections: 20, ..Default::default() };
    let door = door!(connections_that_ask_for_nothing_give_way, [], config);
    let sandbox = door.sandbox().await;
    // One is being answered all the while; its answer is whole.
    let path = format!("/api/sandboxes/{sandbox}/executions");
    let code = "import os, time\nprint('on', flush=True)\nwhile not os.path.exists('end'): time.sleep(0.01)\nprint('end')";
    let asked = Request::new("POST", &path).json(&serde_json::json!({ "code": code }));
    let mut busy = door.start(asked.header("Accept", "application/x-ndjson")).await;
    while !busy.next_line().await.unwrap().contains("\"stdout\"") {}
    // Ten times as many as there are places, silent or slow.
    let mut idle = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: loc").await;
        }
        idle.push(stream);
    }
    for _ in 0..5 {
        assert_eq!(door.get("/health").await.status, 200);
    }
    assert_eq!(
        door.send(Request::new("PUT", &format!("/api/sandboxes/{sandbox}/files/end")).body(b"")).await.status,
        201
    );
    let mut last = String::new();
    while let Some(line) = busy.next_line().await {
        last = line;
    }
    assert!(last.contains("\"finished\"") && last.contains("\"ok\""), "{last}");
    // The first of them were hung up on.
    let mut gone = String::new();
    let read = tokio::time::timeout(HANG, idle[0].read_to_string(&mut gone)).await.unwrap();
    assert!(read.is_err() || gone.is_empty(), "{gone}");
    drop(idle);
    door.close().await;
}
