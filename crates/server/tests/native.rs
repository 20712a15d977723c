//! The native API over TCP: sandboxes, executions and files, and the defects of the original.
#![allow(clippy::unwrap_used)]

mod support;

use reckon_model::scripted::Script;
use serde_json::{Value, json};
use support::Request;

const UNKNOWN: &str = "sbx_00000000000000000000000000";

#[tokio::test]
async fn a_sandbox_is_made_shown_listed_and_deleted() {
    let door = door!(a_sandbox_is_made_shown_listed_and_deleted, []);
    let asked = json!({"limits": {"pids": 64, "timeout_ms": 5000}, "ttl_ms": 60_000});
    let made = door.post("/api/sandboxes", &asked).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!((&made["limits"]["pids"], &made["limits"]["open_files"]), (&json!(64), &json!(4096)));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(door.get(&format!("/api/sandboxes/{id}")).await.json(), made);
    assert_eq!(door.get("/api/sandboxes").await.json(), json!({ "sandboxes": [made] }));
    // An empty object and no body at all mean the defaults.
    let default = door.send(Request::new("POST", "/api/sandboxes").json(&json!({}))).await;
    assert_eq!((default.status, &default.json()["limits"]["pids"]), (201, &json!(256)));
    let deleted = door.send(Request::new("DELETE", &format!("/api/sandboxes/{id}"))).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    for method in ["GET", "DELETE"] {
        let gone = door.send(Request::new(method, &format!("/api/sandboxes/{id}"))).await;
        let never = door.send(Request::new(method, &format!("/api/sandboxes/{UNKNOWN}"))).await;
        assert_eq!((gone.status, never.status), (404, 404));
        assert_eq!(gone.body, never.body, "what was deleted is as unknown as what never was");
        assert_eq!(gone.json()["error"]["code"], "not_found");
    }
    door.close().await;
}

#[tokio::test]
async fn a_preset_sizes_a_sandbox_and_named_limits_go_before_it() {
    let door = door!(a_preset_sizes_a_sandbox_and_named_limits_go_before_it, []);
    let asked = json!({"preset": "standard-1", "limits": {"disk_bytes": 1 << 30, "cpu_ms": 60_000}});
    let made = door.post("/api/sandboxes", &asked).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let limits = &made.json()["limits"];
    assert_eq!((&limits["memory_bytes"], &limits["cpu_millis"]), (&json!(4_u64 << 30), &json!(500)));
    assert_eq!((&limits["disk_bytes"], &limits["cpu_ms"]), (&json!(1 << 30), &json!(60_000)));
    assert_eq!(limits["pids"], 256);
    let lite = json!({"preset": "lite", "limits": {"timeout_ms": 500}});
    let plain = door.post("/api/sandboxes", &lite).await.json();
    assert_eq!(plain["limits"]["memory_bytes"], 256 << 20);
    let outcome = door.execute(plain["id"].as_str().unwrap(), "while True: pass").await;
    assert_eq!((&outcome["status"], &outcome["state"]), (&json!("timeout"), &json!("kept")), "{outcome}");
    door.close().await;
}

#[tokio::test]
async fn an_execution_has_the_documented_shape() {
    let door = door!(an_execution_has_the_documented_shape, []);
    let sandbox = door.sandbox().await;
    let code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\nfrom IPython.display import HTML, display\n\
        display(HTML('<b>x</b>'))\n40 + 2";
    let outcome = door.execute(&sandbox, code).await;
    let fields: Vec<&str> = outcome.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        [
            "duration_ms",
            "error",
            "execution_count",
            "id",
            "limits_hit",
            "results",
            "state",
            "status",
            "stderr",
            "stdout"
        ]
    );
    assert_eq!((&outcome["stdout"], &outcome["stderr"]), (&json!("out\n"), &json!("err\n")));
    assert_eq!(outcome["results"][0]["text/html"], "<b>x</b>");
    assert_eq!(outcome["results"][1], json!({ "text/plain": "42" }));
    assert_eq!((&outcome["status"], &outcome["limits_hit"]), (&json!("ok"), &json!([])));
    assert!(outcome["id"].as_str().unwrap().starts_with("exe_"));
    // The count goes up, and the variables stay.
    let next = door.execute(&sandbox, "code_ran = True\n_ + 1").await;
    assert_eq!((&next["execution_count"], &next["results"][0]["text/plain"]), (&json!(2), &json!("43")));
    let raised = door.execute(&sandbox, "1 / 0").await;
    assert_eq!((&raised["status"], &raised["error"]["name"]), (&json!("error"), &json!("ZeroDivisionError")));
    assert_eq!(raised["error"]["message"], "division by zero");
    assert!(raised["error"]["traceback"].as_str().unwrap().contains("1 / 0"));
    door.close().await;
}

#[tokio::test]
async fn the_defects_of_the_original_are_absent() {
    let door = door!(the_defects_of_the_original_are_absent, []);
    let sandbox = door.sandbox().await;
    let run = async |code: &str| door.execute(&sandbox, code).await;
    // What wedges a context there is an outcome here, and the next execution works.
    for (code, status, stdout) in [
        ("import subprocess\nsubprocess.run(['echo', 'child'])\nNone", "ok", "child\n"),
        ("import os\nos.system('echo shell')\nNone", "ok", "shell\n"),
        ("import os\nos.write(1, b'raw\\n')\nNone", "ok", "raw\n"),
        ("import os\nos._exit(1)", "interpreter_died", ""),
        ("import ctypes\nctypes.string_at(0)", "interpreter_died", ""),
        ("print('half')\nif True print(1)", "error", ""),
        ("  x = 1\n y = 2", "error", ""),
        ("input()", "error", ""),
        ("print('kept')\n5", "ok", "kept\n"),
        ("import os\nprint(os.getcwd())", "ok", "/workspace\n"),
    ] {
        let outcome = run(code).await;
        assert_eq!(outcome["status"], status, "{code}: {outcome}");
        assert_eq!(outcome["stdout"], stdout, "{code}: {outcome}");
        assert_eq!(run("print('alive')").await["stdout"], "alive\n", "after {code}");
    }
    // Values that are no JSON, or cannot be compared, are values all the same.
    for (code, shown) in [("[float('nan')]", "[nan]"), ("[{1, 2}]", "[{1, 2}]"), ("float('inf')", "inf")] {
        assert_eq!(run(code).await["results"], json!([{ "text/plain": shown }]), "{code}");
    }
    // The time limit of a request holds, and the state survives it.
    let path = format!("/api/sandboxes/{sandbox}/executions");
    run("kept = 7").await;
    let late = door.post(&path, &json!({"code": "while True: pass", "timeout_ms": 300})).await.json();
    assert_eq!((&late["status"], &late["limits_hit"]), (&json!("timeout"), &json!(["time"])), "{late}");
    assert_eq!(run("kept").await["results"][0]["text/plain"], "7");
    // Sandboxes share nothing.
    let other = door.sandbox().await;
    assert_eq!(door.execute(&other, "'kept' in globals()").await["results"][0]["text/plain"], "False");
    door.close().await;
}

#[tokio::test]
async fn events_of_an_execution_are_live_and_a_caller_that_leaves_interrupts_it() {
    let door = door!(events_of_an_execution_are_live_and_a_caller_that_leaves_interrupts_it, []);
    let sandbox = door.sandbox().await;
    let path = format!("/api/sandboxes/{sandbox}/executions");
    let ask = |code: &str, accept: &str| {
        Request::new("POST", &path).json(&json!({ "code": code })).header("Accept", accept)
    };
    let whole = door.send(ask("print(1)\n2", "application/x-ndjson")).await;
    let events: Vec<Value> = whole.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    // Text may come in more than one piece.
    types.dedup();
    assert_eq!(types, ["started", "stdout", "result", "finished"]);
    assert!(events.iter().enumerate().all(|(place, event)| event["seq"] == place));
    let frames = door.send(ask("1", "text/event-stream")).await.text();
    assert!(frames.starts_with("id: 0\nevent: started\ndata: {\"seq\":0,\"type\":\"started\""), "{frames}");
    // The code never ends by itself; its first line arrives, its caller leaves, and it is interrupted.
    let endless = "stopped = False\ntry:\n    print('on', flush=True)\n    while True: pass\n\
        except KeyboardInterrupt:\n    stopped = True\n    raise";
    let mut answer = door.start(ask(endless, "application/x-ndjson")).await;
    while !answer.next_line().await.unwrap().contains("\"stdout\"") {}
    drop(answer);
    assert_eq!(door.execute(&sandbox, "stopped").await["results"][0]["text/plain"], "True");
    door.close().await;
}

#[tokio::test]
async fn requests_that_do_not_fit_are_refused_by_name() {
    let door = door!(requests_that_do_not_fit_are_refused_by_name, []);
    let sandbox = door.sandbox().await;
    let run = format!("/api/sandboxes/{sandbox}/executions");
    let post = |path: &str, body: &str| {
        Request::new("POST", path).header("Content-Type", "application/json").body(body.as_bytes())
    };
    for (request, status, code, words) in [
        (post(&run, r#"{"codes": "1"}"#), 400, "invalid_request", "did you mean `code`?"),
        (
            post(&run, r#"{"code": "1", "timeoutMs": 1}"#),
            400,
            "invalid_request",
            "did you mean `timeout_ms`?",
        ),
        (post(&run, "{}"), 400, "invalid_request", "missing field `code`"),
        (post(&run, r#"{"code": null}"#), 400, "invalid_request", "field `code`"),
        (post(&run, r#"{"code": "1", "timeout_ms": 0}"#), 400, "invalid_request", "timeout_ms"),
        (post(&run, r#"{"code": "1", "timeout_ms": 1e30}"#), 400, "invalid_request", "timeout_ms"),
        (post(&run, r#"{"code": "1", "code": "2"}"#), 400, "invalid_json", "duplicate field `code`"),
        (post(&run, r#"{"code": "1"} x"#), 400, "invalid_json", "trailing"),
        (post(&run, &"{\"a\":".repeat(50_000)), 400, "invalid_json", "recursion"),
        (post(&run, "[]"), 400, "invalid_request", "object"),
        (Request::new("POST", &run).body(b"{}"), 415, "unsupported_media_type", "Content-Type"),
        (Request::new("GET", &run), 405, "method_not_allowed", "Allow"),
        (post("/api/sandboxes", r#"{"limit": {}}"#), 400, "invalid_request", "did you mean `limits`?"),
        (post("/api/sandboxes", r#"{"limits": {"memory": 1}}"#), 400, "invalid_request", "memory_bytes"),
        (
            post("/api/sandboxes", r#"{"limits": {"memory_bytes": 1}}"#),
            400,
            "invalid_request",
            "must be between",
        ),
        (
            post("/api/sandboxes", r#"{"limits": {"memory_bytes": 18014398509481984}}"#),
            400,
            "invalid_request",
            "must be between",
        ),
        (
            post("/api/sandboxes", r#"{"preset": "huge"}"#),
            400,
            "invalid_request",
            "known are lite, basic, standard-1",
        ),
        (post("/api/sandboxes", r#"{"ttl_ms": 0}"#), 400, "invalid_request", "ttl_ms"),
        (post("/api/sessions", r#"{"model": "x"}"#), 400, "invalid_request", "model"),
        (
            post(&format!("/api/sandboxes/{UNKNOWN}/executions"), r#"{"code": "1"}"#),
            404,
            "not_found",
            "sandbox",
        ),
        (post("/api/sandboxes/..%2f..%2fetc/executions", r#"{"code": "1"}"#), 404, "not_found", "sandbox"),
        (Request::new("GET", "/api/sandboxes/%ff"), 404, "not_found", "path"),
        (Request::new("GET", "/api"), 404, "not_found", "path"),
        (Request::new("GET", "/api/nothing"), 404, "not_found", "path"),
    ] {
        let response = door.send(request).await;
        let text = response.text();
        assert_eq!(response.status, status, "{text}");
        assert_eq!(response.json()["error"]["code"], code, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(door.engine().sandboxes().len(), 1);
    door.close().await;
}

#[tokio::test]
async fn files_go_in_and_out_and_nothing_outside_is_reached() {
    let config = reckon_server::ServerConfig { upload_limit: 200_000, ..Default::default() };
    let door = door!(files_go_in_and_out_and_nothing_outside_is_reached, [], config);
    let sandbox = door.sandbox().await;
    let file = |name: &str| format!("/api/sandboxes/{sandbox}/files/{name}");
    let bytes: Vec<u8> = (0..150_000_u32).map(|number| (number % 251) as u8).collect();
    let put = door.send(Request::new("PUT", &file("in/a%20b.bin")).body(&bytes)).await;
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!((&put.json()["name"], &put.json()["size"]), (&json!("in/a b.bin"), &json!(150_000)));
    let read = door.execute(&sandbox, "len(open('in/a b.bin', 'rb').read())").await;
    assert_eq!(read["results"][0]["text/plain"], "150000");
    let got = door.get(&file("in/a%20b.bin")).await;
    assert_eq!((got.status, got.body == bytes), (200, true));
    assert_eq!(got.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    // What a browser would run is a download of bytes; bitmaps are shown.
    door.execute(
        &sandbox,
        "for n in ('x.html', 'x.svg', 'x.png', 'x.js'): open(n, 'w').write('<script>1</script>')",
    )
    .await;
    for (name, kind, shown) in [
        ("x.html", "application/octet-stream", "attachment"),
        ("x.svg", "application/octet-stream", "attachment"),
        ("x.js", "application/octet-stream", "attachment"),
        ("x.png", "image/png", "inline"),
    ] {
        let got = door.get(&file(name)).await;
        assert_eq!(got.header("content-type"), Some(kind), "{name}");
        assert!(got.header("content-disposition").unwrap().starts_with(shown), "{name}");
    }
    let list = door.get(&format!("/api/sandboxes/{sandbox}/files")).await.json();
    assert_eq!(list["files"].as_array().unwrap().len(), 5);
    assert_eq!(list["files"][0]["url"], file("in/a%20b.bin"));
    // Links and dots lead nowhere.
    door.execute(&sandbox, "import os\nos.symlink('/etc/passwd', 'link')\nos.symlink('/etc', 'etc')").await;
    for path in [
        "link",
        "etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "in",
        "none",
        "a%00b",
        "in/../in/x",
        "in%2f.%2fx",
    ] {
        let got = door.get(&file(path)).await;
        assert!(matches!(got.status, 400 | 403 | 404), "{path}: {} {}", got.status, got.text());
        assert!(!got.text().contains("root:"), "{path}");
        let put = door.send(Request::new("PUT", &file(path)).body(b"x")).await;
        assert!(put.status < 500, "{path}: {} {}", put.status, put.text());
    }
    let hosts = std::fs::read_to_string("/etc/passwd").unwrap();
    assert!(hosts.starts_with("root:"), "the host's file is as it was");
    let big = door.send(Request::new("PUT", &file("big")).body(&vec![0; 200_001])).await;
    assert_eq!((big.status, &big.json()["error"]["code"]), (413, &json!("too_large")));
    door.close().await;
}

#[tokio::test]
async fn a_sandbox_of_a_passing_prompt_gives_way_to_one_that_is_asked_for() {
    let scripts = [Script::text("Hello.")];
    let door = door!(a_sandbox_of_a_passing_prompt_gives_way_to_one_that_is_asked_for, scripts);
    assert_eq!(door.post("/run", &json!({"input": "Hi"})).await.status, 200);
    // The engine of these tests holds 64; with the prompt's it is full.
    for _ in 0..63 {
        assert_eq!(door.send(Request::new("POST", "/api/sandboxes")).await.status, 201);
    }
    assert_eq!(door.send(Request::new("POST", "/api/sandboxes")).await.status, 201);
    let full = door.send(Request::new("POST", "/api/sandboxes")).await;
    assert_eq!((full.status, &full.json()["error"]["code"]), (503, &json!("busy")));
    door.close().await;
}
