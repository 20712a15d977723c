//! Whole requests that mean harm: documents, fields, ids, paths and workspaces that no honest client sends. Each is
//! answered with its documented status; none is a failure of the server, and others are served meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Door, Request};
use tokio::io::AsyncReadExt as _;

fn post(path: &str, body: &[u8]) -> Request {
    Request::new("POST", path).header("Content-Type", "application/json").body(body)
}

/// Sends a request and holds its answer to what is documented.
async fn refused(door: &Door, name: &str, request: Request, statuses: &[u16]) {
    let response = tokio::time::timeout(Duration::from_secs(60), door.send(request)).await;
    let response = response.unwrap_or_else(|_| panic!("{name}: no answer"));
    let text = response.text();
    assert!(statuses.contains(&response.status), "{name}: {} {text:.300}", response.status);
    // Whatever was sent, what comes back is one JSON document with an error in it.
    let document: Value =
        serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{name}: {text:.300}"));
    assert!(!document["error"].is_null(), "{name}: {text:.300}");
}

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    let door = door!(documents_that_are_none_are_refused, []);
    let sandbox = door.sandbox().await;
    let run = format!("/api/sandboxes/{sandbox}/executions");
    let utf16: Vec<u8> = "{\"code\": \"1\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let deep = "[".repeat(100_000);
    let wide = format!("{{\"code\": [{}0]}}", "0,".repeat(400_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("blanks", b" \n\t ".to_vec()),
        ("cut", br#"{"code": "1"#.to_vec()),
        ("bytes behind", br#"{"code": "1"}x"#.to_vec()),
        ("two documents", br#"{"code": "1"}{"code": "2"}"#.to_vec()),
        ("a hundred thousand levels", deep.clone().into()),
        ("as many objects", "{\"a\":".repeat(100_000).into()),
        ("a value as deep", format!("{{\"code\": {deep}").into()),
        ("a field twice", br#"{"code": "1", "code": "2"}"#.to_vec()),
        ("a field twice by an escape", br#"{"code": "1", "c\u006fde": "2"}"#.to_vec()),
        ("bad UTF-8", b"{\"code\": \"\xff\"}".to_vec()),
        ("overlong UTF-8", b"{\"code\": \"\xc0\xaf\"}".to_vec()),
        ("half a surrogate", br#"{"code": "\ud800"}"#.to_vec()),
        ("UTF-16", utf16),
        ("a byte order mark", b"\xef\xbb\xbf{\"code\": \"1\"}".to_vec()),
        ("NaN", br#"{"code": "1", "timeout_ms": NaN}"#.to_vec()),
        ("beyond a double", br#"{"code": "1", "timeout_ms": 1e400}"#.to_vec()),
        ("a comment", br#"{"code": "1" /* so */}"#.to_vec()),
        ("a comma behind", br#"{"code": "1",}"#.to_vec()),
        ("single quotes", b"{'code': '1'}".to_vec()),
        ("a control character", b"{\"code\": \"a\0b\"}".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a word", b"null".to_vec()),
        ("a wide value", wide.into()),
    ];
    for (name, body) in cases {
        refused(&door, name, post(&run, &body), &[400]).await;
        refused(&door, name, post("/api/sandboxes", if body.is_empty() { b" " } else { &body }), &[400])
            .await;
        // It reads as the original does: fields that it does not know, and the last of two, are no errors there.
        refused(&door, name, post("/run", &body), &[400]).await;
    }
    assert_eq!(door.execute(&sandbox, "1").await["status"], "ok");
    assert_eq!(door.engine().sandboxes().len(), 1);
    door.close().await;
}

#[tokio::test]
async fn fields_that_do_not_fit_are_refused() {
    let door = door!(fields_that_do_not_fit_are_refused, []);
    let sandbox = door.sandbox().await;
    let run = format!("/api/sandboxes/{sandbox}/executions");
    for body in [
        json!({"code": ["1"]}),
        json!({"code": {"code": "1"}}),
        json!({"code": true}),
        json!({"code": "1", "timeout_ms": -1}),
        json!({"code": "1", "timeout_ms": 1.5}),
        json!({"code": "1", "timeout_ms": "1"}),
        json!({"code": "1", "timeout_ms": 18_014_398_509_481_984_u64}),
        json!({"code": "1", "env": {"LD_PRELOAD": "x"}}),
        json!({"code": "1", "cwd": "/etc"}),
        json!({"code": "1", "__proto__": {}}),
    ] {
        refused(&door, &body.to_string(), post(&run, body.to_string().as_bytes()), &[400]).await;
    }
    for body in [
        json!({"limits": []}),
        json!({"limits": {"memory_bytes": 18_014_398_509_481_984_u64}}),
        json!({"limits": {"memory_bytes": -1}}),
        json!({"limits": {"memory_bytes": 1e30}}),
        json!({"limits": {"pids": 0}}),
        json!({"limits": {"pids": null}}),
        json!({"limits": {"timeout_ms": 0}}),
        json!({"ttl_ms": u64::MAX}),
        json!({"ttl_ms": "soon"}),
        json!({"image": "../../etc"}),
        json!({"id": "sbx_00000000000000000000000000"}),
    ] {
        refused(&door, &body.to_string(), post("/api/sandboxes", body.to_string().as_bytes()), &[400]).await;
    }
    assert_eq!(door.engine().sandboxes().len(), 1);
    door.close().await;
}

#[tokio::test]
async fn ids_that_nobody_has_are_unknown_and_all_answered_alike() {
    let door = door!(ids_that_nobody_has_are_unknown_and_all_answered_alike, []);
    let sandbox = door.sandbox().await;
    let ids = [
        "0",
        "sbx_",
        "sbx",
        "SBX_",
        "%00",
        "%0a",
        "%ff",
        "..",
        ".",
        "%2e%2e",
        "..%2f..",
        "*",
        "null",
        "-1",
        "~",
        "sbx_00000000000000000000000000",
        "ses_00000000000000000000000000",
        "sbx_0000000000000000000000000",
        "sbx_000000000000000000000000000",
        "sbx_0000000000000000000000000%00",
        "sbx_uuuuuuuuuuuuuuuuuuuuuuuuuu",
        "%C3%BC",
        "%F0%9F%A6%80",
        "a%20b",
        "%27%20or%201=1",
        "$(id)",
        "{id}",
        "%7B%7D",
        ";",
        "a&b",
    ];
    let (upper, longer) = (sandbox.to_uppercase(), format!("{sandbox}0"));
    for id in ids.into_iter().chain([upper.as_str(), longer.as_str(), &"x".repeat(4000)]) {
        for (method, below) in [
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/executions"),
            ("GET", "/files"),
            ("GET", "/files/a"),
            ("PUT", "/files/a"),
            ("DELETE", "/files/a"),
        ] {
            for kind in ["sandboxes", "sessions"] {
                let path = format!("/api/{kind}/{id}{below}");
                let request = Request::new(method, &path).json(&json!({"code": "1"}));
                // 405 where the dots are taken for the path above, or a session has no executions.
                refused(&door, &format!("{method} {path}"), request, &[404, 405]).await;
            }
        }
    }
    let unknown = door.get("/api/sandboxes/sbx_00000000000000000000000000").await;
    assert_eq!(unknown.text(), door.get("/api/sandboxes/no-id-at-all").await.text());
    assert_eq!(door.execute(&sandbox, "1").await["status"], "ok");
    door.close().await;
}

#[tokio::test]
async fn a_workspace_full_of_traps_is_served_or_refused_without_harm() {
    let door = door!(a_workspace_full_of_traps_is_served_or_refused_without_harm, []);
    let limits = json!({"limits": {"file_bytes": 64_u64 << 30}});
    let sandbox = door.post("/api/sandboxes", &limits).await.json()["id"].as_str().unwrap().to_owned();
    let code = "import os, socket
os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('socket')
for target in ('/dev/zero', '/proc/self/environ', '/proc/self/root/etc/passwd', '/proc/1/root', '..', 'loop', '/etc/passwd'):
    os.symlink(target, 'loop' if target == 'loop' else 'to' + target.replace('/', '-'))
os.link('own', 'hard') if os.path.exists('own') else (open('own', 'w').write('own'), os.link('own', 'hard'))
with open('giant', 'wb') as file: os.truncate(file.fileno(), 64 << 30)
os.makedirs('full')
for number in range(100_000): os.close(os.open(f'full/{number}', os.O_CREAT | os.O_WRONLY))
for name in (b'line\\nbreak', b'\\xff\\xfe', b'n' * 255, b'-rf', b'\\x1b[2J', b'a\\\\b', b'%2e%2e', b'..%2f', b' ', b'...', b'~', b'CON'):
    open(name, 'w').write('odd')
here = os.open('.', os.O_RDONLY)
for _ in range(1500):
    os.mkdir('deep'); os.chdir('deep')
open('bottom', 'w').close(); os.fchdir(here)
open('closed', 'w').write('closed'); os.chmod('closed', 0)
os.mkdir('shut'); open('shut/file', 'w').close(); os.chmod('shut', 0)
os.utime('own', (-1, -2**33)); os.mkdir('dir.csv')
try: os.mknod('device', 0o20666, os.makedev(1, 5)); print('a device')
except OSError: pass";
    let outcome = door.execute(&sandbox, code).await;
    assert_eq!((&outcome["status"], &outcome["stdout"]), (&json!("ok"), &json!("")), "{outcome}");
    let files = format!("/api/sandboxes/{sandbox}/files");
    let file = |name: &str| format!("{files}/{name}");

    let list = door.get(&files).await;
    let listed = list.json();
    assert_eq!((list.status, listed["files"].as_array().unwrap().len()), (200, 10_000));
    let notice = listed["notice"].as_str().unwrap();
    assert!(notice.contains("is cut") && notice.contains("not UTF-8"), "{notice}");

    // A socket, a FIFO, links out and around, directories, devices, what is not there.
    for name in [
        "fifo",
        "socket",
        "to-dev-zero",
        "to-proc-self-environ",
        "to-proc-self-root-etc-passwd",
        "to-proc-1-root",
        "to-proc-1-root/etc/passwd",
        "to..",
        "to../x",
        "to-etc-passwd",
        "loop",
        "loop/x",
        "full",
        "dir.csv",
        "none",
        "device",
        "own/x",
        "fifo/x",
        "%ff%fe",
        "..%2fx",
        "%2e%2e%2fx",
        "a%00b",
        "%2Fetc%2Fpasswd",
        "./own",
        "full/",
        "//own",
        "deep/../own",
        "full/100001",
    ] {
        refused(&door, &format!("GET {name}"), Request::new("GET", &file(name)), &[400, 403, 404]).await;
    }
    for (name, content) in [
        ("own", "own"),
        ("hard", "own"),
        ("line%0Abreak", "odd"),
        ("-rf", "odd"),
        ("%1B%5B2J", "odd"),
        ("a%5Cb", "odd"),
        ("%252e%252e", "odd"),
        ("..%252f", "odd"),
        ("%20", "odd"),
        ("...", "odd"),
        ("full/99999", ""),
    ] {
        let got = door.get(&file(name)).await;
        assert_eq!((got.status, got.text().as_str()), (200, content), "{name}");
        assert!(!got.header("content-disposition").unwrap().contains(['\n', '\u{1b}']), "{name}");
    }
    giant(&door, &file("giant")).await;
    // Writing over and into what is there, and removing it.
    for (method, name, statuses) in [
        ("PUT", "full", &[400, 409][..]),
        ("PUT", "fifo/x", &[400]),
        ("PUT", "to-etc-passwd/x", &[400]),
        ("PUT", "loop/x", &[400]),
        ("PUT", "to../x", &[400]),
        ("PUT", &"n".repeat(256), &[400]),
        ("PUT", &"d/".repeat(2100), &[400]),
        ("DELETE", "full", &[400, 403, 409]),
        ("DELETE", "none", &[404]),
        ("DELETE", "to../own", &[400]),
        ("DELETE", "..%2fown", &[400]),
        ("DELETE", "own/x", &[400, 404]),
        ("PUT", "a%00b", &[400]),
        ("PUT", "..%2fx", &[400]),
    ] {
        let request = Request::new(method, &file(name)).body(b"x");
        refused(&door, &format!("{method} {name:.40}"), request, statuses).await;
    }
    for name in ["fifo", "socket", "loop", "to-etc-passwd", "hard", "line%0Abreak"] {
        assert_eq!(door.send(Request::new("PUT", &file(name)).body(b"new")).await.status, 201, "{name}");
        assert_eq!(door.get(&file(name)).await.text(), "new", "{name}");
        assert_eq!(door.send(Request::new("DELETE", &file(name))).await.status, 204, "{name}");
        assert_eq!(door.get(&file(name)).await.status, 404, "{name}");
    }
    assert_eq!(
        door.get(&file("own")).await.text(),
        "own",
        "a hard link was replaced and not written through"
    );
    assert!(std::fs::read_to_string("/etc/passwd").unwrap().starts_with("root:"));
    assert_eq!(door.send(Request::new("DELETE", &format!("/api/sandboxes/{sandbox}"))).await.status, 204);
    door.close().await;
}

/// 64 GiB that take no room on disk: begun, streamed for a while, and left.
async fn giant(door: &Door, path: &str) {
    let mut stream = door.write(Request::new("GET", path)).await;
    let mut head = vec![0; 4096];
    stream.read_exact(&mut head).await.unwrap();
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200") && text.contains("content-length: 68719476736"), "{text:.300}");
    let mut rest = vec![0; 8 << 20];
    stream.read_exact(&mut rest).await.unwrap();
    assert!(rest.iter().all(|byte| *byte == 0));
    assert_eq!(door.get("/health").await.status, 200);
}

#[tokio::test]
async fn what_code_prints_stays_inside_its_event() {
    let door = door!(what_code_prints_stays_inside_its_event, []);
    let sandbox = door.sandbox().await;
    let path = format!("/api/sandboxes/{sandbox}/executions");
    let forged = r#"print('\n\nid: 99\nevent: finished\ndata: {"seq":99,"type":"finished"}\n\r\r\u2028\x00', flush=True)
print('{"seq":0,"type":"answer","output":"forged"}\n' * 3)
{'x': '\n\ndata: forged'}"#;
    for (accept, prefix) in [("text/event-stream", "data: "), ("application/x-ndjson", "")] {
        let request = Request::new("POST", &path).json(&json!({"code": forged})).header("Accept", accept);
        let text = door.send(request).await.text();
        let lines = text.split(['\n', '\r']).filter(|line| !line.is_empty());
        let events: Vec<Value> = lines
            .filter_map(|line| {
                let known = line.starts_with("id: ") || line.starts_with("event: ") || line.starts_with(':');
                assert!(line.starts_with(prefix) || known, "{line}");
                line.strip_prefix(prefix).filter(|_| prefix.is_empty() || !known)
            })
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(events.iter().enumerate().all(|(place, event)| event["seq"] == place), "{text}");
        assert!(events.iter().all(|event| event["type"] != "answer"), "{text}");
        assert_eq!(events.iter().filter(|event| event["type"] == "finished").count(), 1, "{text}");
    }
    door.close().await;
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_is_neither_padded_nor_followed() {
    let door = door!(a_file_that_changes_while_it_is_sent_is_neither_padded_nor_followed, []);
    let sandbox = door.sandbox().await;
    let file = |name: &str| format!("/api/sandboxes/{sandbox}/files/{name}");
    let write = "size = 64 << 20\nfor name in ('shrinks', 'grows', 'goes'): open(name, 'wb').truncate(size)";
    assert_eq!(door.execute(&sandbox, write).await["status"], "ok");
    // More than sockets hold, so that the rest is read after the change.
    let (mut shrinks, mut grows, mut goes) = (
        door.start(Request::new("GET", &file("shrinks"))).await,
        door.start(Request::new("GET", &file("grows"))).await,
        door.start(Request::new("GET", &file("goes"))).await,
    );
    for answer in [&mut shrinks, &mut grows, &mut goes] {
        assert_eq!(answer.status, 200);
    }
    let change = "import os\nos.truncate('shrinks', 1000)\nopen('grows', 'ab').write(b'x' * size)\nos.remove('goes')\n\
        os.symlink('/etc/passwd', 'goes')";
    assert_eq!(door.execute(&sandbox, change).await["status"], "ok");
    let (shrunk, grown, gone) = (shrinks.finish().await, grows.finish().await, goes.finish().await);
    assert!(shrunk.body.len() < 64 << 20, "cut short, and the connection with it");
    assert_eq!(grown.body.len(), 64 << 20, "as long as was promised");
    assert_eq!(gone.body.len(), 64 << 20, "the file that was opened, whatever its name has become");
    assert!(grown.body.iter().chain(&gone.body).all(|byte| *byte == 0));

    // A shorter file leaves nothing of the longer one; a part is not served, but the whole.
    for content in ["long content", "short"] {
        assert_eq!(door.send(Request::new("PUT", &file("tail")).body(content.as_bytes())).await.status, 201);
    }
    let part =
        door.send(Request::new("GET", &file("tail")).header("Range", "bytes=1-99999999999999999999")).await;
    assert_eq!((part.status, part.text().as_str()), (200, "short"));
    door.close().await;
}

#[tokio::test]
async fn readers_that_never_read_hold_nobody_up() {
    let door = door!(readers_that_never_read_hold_nobody_up, []);
    let sandbox = door.sandbox().await;
    let code = "open('large', 'wb').truncate(512 << 20)";
    assert_eq!(door.execute(&sandbox, code).await["status"], "ok");
    let mut deaf = Vec::new();
    for number in 0..40 {
        let request = if number % 2 == 0 {
            Request::new("GET", &format!("/api/sandboxes/{sandbox}/files/large"))
        } else {
            // A sandbox of its own each: a context whose reader takes nothing waits for him.
            let own = door.engine().create(reckon_sandbox::SandboxSpec::default()).await.unwrap();
            let flood = json!({"code": "while True: print('x' * 1000)", "timeout_ms": 60_000});
            let path = format!("/api/sandboxes/{}/executions", own.id());
            Request::new("POST", &path).json(&flood).header("Accept", "application/x-ndjson")
        };
        deaf.push(door.write(request).await);
    }
    let mut other = door.sandbox().await;
    for _ in 0..10 {
        assert_eq!(door.execute(&other, "1").await["status"], "ok");
    }
    // Nor do they hold up the end of what they do not read.
    for sandbox in door.engine().sandboxes() {
        if sandbox.id().as_str() != other {
            let ended = door.engine().delete(sandbox.id());
            assert!(tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap());
        }
    }
    drop(deaf);
    other = door.sandbox().await;
    assert_eq!(door.execute(&other, "1").await["status"], "ok");
    door.close().await;
}
