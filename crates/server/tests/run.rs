//! `POST /run` over TCP: the contract of the original, with what the original leaves out.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use reckon_model::{DemoPlanner, ModelError, scripted::Script};
use reckon_server::{ServerConfig, Speaker};
use serde_json::{Value, json};
use support::{Door, Request};

fn prompt(input: &str) -> Value {
    json!({ "input": input })
}

#[tokio::test]
async fn a_prompt_is_answered_with_everything_that_ran() {
    let scripts =
        [Script::python("import math\nprint('computing')\nmath.factorial(5)"), Script::text("It is 120.")];
    let door = door!(a_prompt_is_answered_with_everything_that_ran, scripts);
    let response = door.post("/run", &prompt("Calculate 5 factorial using Python")).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    let answer = response.json();
    let fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["files", "model", "output", "runs", "session"]);
    assert_eq!(answer["output"], "It is 120.");
    assert_eq!(answer["model"], "scripted");
    let run = &answer["runs"][0];
    assert_eq!(run["code"], "import math\nprint('computing')\nmath.factorial(5)");
    assert_eq!(
        (&run["stdout"], &run["stderr"], &run["error"]),
        (&json!("computing\n"), &json!(""), &Value::Null)
    );
    assert_eq!(run["results"], json!([{ "text/plain": "120" }]));
    assert!(run["duration_ms"].as_f64().unwrap() > 0.0);
    door.close().await;
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let door = door!(every_refusal_says_what_to_do, []);
    let run = || Request::new("POST", "/run");
    let json_body = |text: &str| run().header("Content-Type", "application/json").body(text.as_bytes());
    for body in ["{}", r#"{"input":""}"#, r#"{"input":null}"#] {
        let response = door.send(json_body(body)).await;
        assert_eq!(
            (response.status, response.json()),
            (400, json!({"error": "Missing input field"})),
            "{body}"
        );
    }
    let big = format!(r#"{{"input":"{}"}}"#, "x".repeat(1024 * 1024));
    let announced = run().header("Content-Type", "application/json").header("Content-Length", "99999999999");
    let chunked = run().header("Content-Type", "application/json").header("Transfer-Encoding", "chunked");
    let endless = format!("100001\r\n{}\r\n0\r\n\r\n", "x".repeat(0x10_0001));
    let mut endless = chunked.body(endless.as_bytes());
    endless = endless.header("Content-Length", "");
    for (what, request, status) in [
        ("cut JSON", json_body("{"), 400),
        ("empty body", json_body(""), 400),
        ("two documents", json_body("{} {}"), 400),
        ("no object", json_body("[1]"), 400),
        ("a number", json_body(r#"{"input": 5}"#), 400),
        ("a deep document", json_body(&"[".repeat(100_000)), 400),
        ("bad UTF-8", run().header("Content-Type", "application/json").body(b"{\"input\":\"\xff\"}"), 400),
        ("a form", run().header("Content-Type", "application/x-www-form-urlencoded").body(b"input=x"), 415),
        ("text", run().header("Content-Type", "text/plain").body(br#"{"input":"x"}"#), 415),
        ("no type", run().body(br#"{"input":"x"}"#), 415),
        ("gzip", json_body("x").header("Content-Encoding", "gzip"), 415),
        ("a big body", json_body(&big), 413),
        ("a big announcement", announced, 413),
        ("a big chunked body", endless, 413),
        ("GET", Request::new("GET", "/run"), 405),
        ("DELETE", Request::new("DELETE", "/run"), 405),
        ("another path", Request::new("POST", "/runs").json(&prompt("x")), 404),
        (
            "an unknown session",
            run().json(&json!({"input": "x", "session": "ses_00000000000000000000000000"})),
            404,
        ),
        ("a malformed session", run().json(&json!({"input": "x", "session": "../x"})), 404),
    ] {
        let response = door.send(request).await;
        assert_eq!(response.status, status, "{what}: {}", response.text());
        let error = response.json()["error"].as_str().unwrap_or_else(|| panic!("{what}")).to_owned();
        assert!(error.len() > 15, "{what}: {error}");
        if status == 405 {
            assert_eq!(response.header("allow"), Some("POST"), "{what}");
        }
    }
    assert_eq!(door.engine().sandboxes().len(), 0, "no refused request made a sandbox");
    door.close().await;
}

#[tokio::test]
async fn events_come_live_and_numbered_in_both_shapes() {
    let scripts = || [Script::python("print('hi')\n6 * 7"), Script::text("All done.")];
    let door = door!(events_come_live_and_numbered_in_both_shapes, scripts().into_iter().chain(scripts()));
    let ask = Request::new("POST", "/run").json(&prompt("Say hi"));
    let sent = door.send(ask.clone().header("Accept", "text/event-stream")).await;
    assert_eq!((sent.status, sent.header("content-type")), (200, Some("text/event-stream")));
    let text = sent.text();
    let mut types = Vec::new();
    for (seq, frame) in text.trim_end().split("\n\n").enumerate() {
        let lines: Vec<&str> = frame.lines().collect();
        let [id, event, data] = lines[..] else { panic!("{frame}") };
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(id, format!("id: {seq}"));
        assert_eq!(data["seq"], seq);
        assert_eq!(event, format!("event: {}", data["type"].as_str().unwrap()));
        types.push(data["type"].as_str().unwrap().to_owned());
    }
    types.dedup();
    let expected =
        ["turn_started", "call_delta", "call", "started", "stdout", "result", "finished", "text", "answer"];
    assert_eq!(types, expected);
    let lines = door.send(ask.header("Accept", "application/x-ndjson")).await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let events: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["type"], "answer");
    assert_eq!(events.last().unwrap()["output"], "All done.");
    door.close().await;
}

#[tokio::test]
async fn output_arrives_while_the_code_still_runs() {
    let code = "print('first', flush=True)\nwhile not __import__('os').path.exists('go'): pass";
    let door = door!(output_arrives_while_the_code_still_runs, [Script::python(code), Script::text("Done.")]);
    let ask = Request::new("POST", "/run").json(&prompt("Wait")).header("Accept", "application/x-ndjson");
    let mut answer = door.start(ask).await;
    let mut session = String::new();
    // The code waits for a file that is only put there once its first line has arrived.
    while let Some(line) = answer.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap();
        match event["type"].as_str().unwrap() {
            "turn_started" => session = event["session"].as_str().unwrap().to_owned(),
            "stdout" => {
                let path = format!("/api/sessions/{session}/files/go");
                assert_eq!(door.send(Request::new("PUT", &path).body(b"")).await.status, 201);
            }
            _ => {}
        }
    }
    assert_eq!(door.model.scripts_left(), 0);
    door.close().await;
}

#[tokio::test]
async fn a_session_continues_and_callers_share_nothing() {
    let scripts = [
        Script::python("secret = 41\nopen('mine.txt', 'w').write('private')"),
        Script::text("Kept."),
        Script::python("print(secret + 1)"),
        Script::text("42"),
        Script::python("import os\nprint('secret' in globals(), os.listdir('.'))"),
        Script::text("Nothing."),
    ];
    let door = door!(a_session_continues_and_callers_share_nothing, scripts);
    let first = door.post("/run", &prompt("Keep")).await.json();
    let session = &first["session"];
    let second = door.post("/run", &json!({"input": "Show", "session": session, "unknown": 1})).await.json();
    assert_eq!((&second["session"], &second["runs"][0]["stdout"]), (session, &json!("42\n")));
    let stranger = door.post("/run", &prompt("Look around")).await.json();
    assert_ne!(&stranger["session"], session);
    assert_eq!(stranger["runs"][0]["stdout"], "False []\n");
    door.close().await;
}

#[tokio::test]
async fn files_are_named_with_addresses_that_serve_them() {
    let code = "open('tä b.csv', 'w').write('a,b\\n')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()";
    let door =
        door!(files_are_named_with_addresses_that_serve_them, [Script::python(code), Script::text("Saved.")]);
    let answer = door.post("/run", &prompt("Save")).await.json();
    let files = answer["files"].as_array().unwrap();
    let named: Vec<(&str, &str)> =
        files.iter().map(|file| (file["name"].as_str().unwrap(), file["mime"].as_str().unwrap())).collect();
    assert_eq!(named, [("plot-1.png", "image/png"), ("tä b.csv", "text/csv")]);
    let plot = door.get(files[0]["url"].as_str().unwrap()).await;
    assert_eq!((plot.status, plot.header("content-type")), (200, Some("image/png")));
    assert_eq!(plot.body.len() as u64, files[0]["size"].as_u64().unwrap());
    assert!(plot.body.starts_with(b"\x89PNG"));
    let table = door.get(files[1]["url"].as_str().unwrap()).await;
    assert_eq!(table.text(), "a,b\n");
    assert_eq!(table.header("content-disposition"), Some("attachment; filename*=UTF-8''t%C3%A4%20b.csv"));
    door.close().await;
}

#[tokio::test]
async fn a_model_that_is_down_is_502_with_what_ran() {
    let down = ModelError::Unreachable { url: "http://127.0.0.1:9/v1".into(), detail: "refused".into() };
    let scripts = [Script::python("print('kept')"), Script::Fails(down)];
    let door = door!(a_model_that_is_down_is_502_with_what_ran, scripts);
    let response = door.post("/run", &prompt("Go")).await;
    assert_eq!(response.status, 502);
    let body = response.json();
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("http://127.0.0.1:9/v1") && error.contains("check that the server"), "{error}");
    assert_eq!(body["runs"][0]["stdout"], "kept\n");
    door.close().await;
}

#[tokio::test]
async fn a_session_at_work_is_a_conflict_and_a_caller_that_leaves_frees_it() {
    let scripts = [Script::Hangs, Script::text("Free.")];
    let door = door!(a_session_at_work_is_a_conflict_and_a_caller_that_leaves_frees_it, scripts);
    let session =
        door.send(Request::new("POST", "/api/sessions")).await.json()["id"].as_str().unwrap().to_owned();
    let ask = json!({"input": "Think", "session": session});
    let mut hanging =
        door.start(Request::new("POST", "/run").json(&ask).header("Accept", "application/x-ndjson")).await;
    assert!(hanging.next_line().await.unwrap().contains("turn_started"));
    let conflict = door.post("/run", &ask).await;
    assert_eq!(conflict.status, 409, "{}", conflict.text());
    drop(hanging);
    let answer = loop {
        let answer = door.post("/run", &ask).await;
        if answer.status != 409 {
            break answer;
        }
    };
    assert_eq!(answer.json()["output"], "Free.");
    door.close().await;
}

#[tokio::test]
async fn a_caller_of_the_whole_answer_that_leaves_stops_the_code() {
    let code = "try:\n    open('begun', 'w').close()\n    while True: pass\n\
        except KeyboardInterrupt:\n    open('stopped', 'w').close()";
    let door = door!(a_caller_of_the_whole_answer_that_leaves_stops_the_code, [Script::python(code)]);
    let session =
        door.send(Request::new("POST", "/api/sessions")).await.json()["id"].as_str().unwrap().to_owned();
    let stream =
        door.write(Request::new("POST", "/run").json(&json!({"input": "Loop", "session": session}))).await;
    let has =
        async |name: &str| door.get(&format!("/api/sessions/{session}/files/{name}")).await.status == 200;
    let appears = async |name| {
        let wait = async { while !has(name).await {} };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("no file {name}"));
    };
    appears("begun").await;
    drop(stream);
    appears("stopped").await;
    door.close().await;
}

#[tokio::test]
async fn sessions_are_bounded_and_those_that_nobody_named_make_room() {
    let config = ServerConfig { max_sessions: 2, ..ServerConfig::default() };
    let scripts: Vec<Script> = (0..3).map(|_| Script::text("Hello.")).collect();
    let door = door!(sessions_are_bounded_and_those_that_nobody_named_make_room, scripts, config);
    let first = door.post("/run", &prompt("Hi")).await.json();
    door.post("/run", &prompt("Hi")).await;
    let third = door.post("/run", &prompt("Hi")).await;
    assert_eq!(third.status, 200);
    assert_eq!(door.engine().sandboxes().len(), 2);
    let gone = door.get(&format!("/api/sessions/{}", first["session"].as_str().unwrap())).await;
    assert_eq!(gone.status, 404);
    for _ in 0..2 {
        assert_eq!(door.send(Request::new("POST", "/api/sessions")).await.status, 201);
    }
    let full = door.post("/run", &prompt("Hi")).await;
    assert_eq!((full.status, full.header("retry-after")), (503, Some("2")), "{}", full.text());
    assert!(full.json()["error"].as_str().unwrap().contains("max_sessions"));
    door.close().await;
}

#[tokio::test]
async fn the_six_examples_are_computed_by_the_demo_planner() {
    let test = "the_six_examples_are_computed_by_the_demo_planner";
    let Some(door) = Door::with_model(test, DemoPlanner, Speaker::DemoByDefault).await else { return };
    for (input, expected) in [
        ("Calculate 5 factorial using Python", vec!["120"]),
        ("Calculate 7 factorial using Python", vec!["5040"]),
        ("Use Python to find all prime numbers under 20", vec!["2", "3", "5", "7", "11", "13", "17", "19"]),
        ("Create a list of the first 10 squares and calculate their sum", vec!["100", "385"]),
        ("Create a list of the first 4 squares and calculate their sum", vec!["16", "30"]),
        ("Generate sample sales data for 12 months and calculate quarterly totals", vec!["Q1", "Q4"]),
        ("Implement a binary search function and test it with a sorted array", vec!["binary_search"]),
        ("Calculate the standard deviation of [2, 4, 4, 4, 5, 5, 7, 9]", vec!["2\\n", "2.138"]),
    ] {
        let response = door.post("/run", &prompt(input)).await;
        assert_eq!(response.status, 200, "{input}: {}", response.text());
        let answer = response.json();
        assert_eq!(answer["runs"].as_array().unwrap().len(), 1, "{input}");
        assert_eq!(answer["runs"][0]["status"], "ok", "{input}: {answer}");
        let shown = format!("{} {}", answer["output"], answer["runs"][0]);
        assert!(expected.iter().all(|figure| shown.contains(figure)), "{input}: {shown}");
        assert_eq!(answer["model"], "demo planner, not a language model");
    }
    let refused = door.post("/run", &prompt("Write me a poem about rivers")).await.json();
    assert_eq!(refused["runs"], json!([]));
    assert!(refused["output"].as_str().unwrap().contains("not a language model"));
    assert_eq!(door.get("/health").await.json()["model"]["demo"], true);
    door.close().await;
}
