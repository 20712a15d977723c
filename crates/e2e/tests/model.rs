//! The shipped binary against a scripted model server that speaks Chat Completions over a socket, byte by byte.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::JoinHandle,
};

use reckon_e2e::binary::Place;
use serde_json::{Value, json};

/// A model server that plays one reply for each request and keeps the requests.
struct Scripted {
    url: String,
    playing: JoinHandle<Vec<Value>>,
}

impl Scripted {
    fn start(replies: Vec<Vec<Value>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
        let playing = std::thread::spawn(move || {
            replies.into_iter().map(|chunks| play(&listener.accept().expect("asked").0, &chunks)).collect()
        });
        Self { url, playing }
    }

    /// Returns what it was asked, once every reply was played.
    fn requests(self) -> Vec<Value> {
        self.playing.join().expect("the script was played to its end")
    }
}

/// Reads one request and answers it with server-sent events, a byte a write.
fn play(stream: &TcpStream, chunks: &[Value]) -> Value {
    let mut reader = BufReader::new(stream);
    let (mut length, mut first) = (0, String::new());
    reader.read_line(&mut first).expect("a request line");
    assert_eq!(first, "POST /v1/chat/completions HTTP/1.1\r\n");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let mut writer = stream;
    writer
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        .expect("a head");
    let mut text = String::from(": a comment first\n\n");
    for chunk in chunks {
        let _ = write!(text, "data: {chunk}\n\n");
    }
    text.push_str("data: [DONE]\n\n");
    for byte in text.bytes() {
        writer.write_all(&[byte]).expect("a byte");
    }
    serde_json::from_slice(&body).expect("JSON")
}

fn delta(delta: &Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// A call of `execute_python` whose arguments come in pieces.
fn call(code: &str) -> Vec<Value> {
    let arguments = json!({"code": code}).to_string();
    let head = json!({"role": "assistant", "content": "", "tool_calls": [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "execute_python", "arguments": ""}}]});
    let mut chunks = vec![delta(&head, None)];
    let characters: Vec<char> = arguments.chars().collect();
    for piece in characters.chunks(7) {
        let piece: String = piece.iter().collect();
        chunks.push(delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), None));
    }
    chunks.push(delta(&json!({}), Some("tool_calls")));
    chunks
}

fn text(words: &str) -> Vec<Value> {
    vec![delta(&json!({"role": "assistant", "content": words}), None), delta(&json!({}), Some("stop"))]
}

#[test]
fn a_model_server_is_asked_its_code_runs_and_it_reads_the_result() {
    let Some(place) = Place::for_code("a_model_server_is_asked_its_code_runs_and_it_reads_the_result") else {
        return;
    };
    let code = "import math\nprint('ünï', math.factorial(20))\n1 / 0";
    let model = Scripted::start(vec![call(code), call("print(6 * 7)"), text("It is 42.")]);
    let ran = place.run(&["ask", "--json", "--model", "scripted-1", "--base-url", &model.url, "How much?"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = ran.json();
    assert_eq!(
        (&answer["output"], &answer["model"]),
        (&json!("It is 42."), &json!("scripted-1")),
        "{answer}"
    );
    assert_eq!(answer["runs"][0]["code"], code);
    assert_eq!(answer["runs"][0]["stdout"], "ünï 2432902008176640000\n");
    assert_eq!(answer["runs"][0]["error"]["name"], "ZeroDivisionError");
    assert_eq!((&answer["runs"][1]["stdout"], &answer["runs"][1]["error"]), (&json!("42\n"), &Value::Null));
    let requests = model.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0]["tools"][0]["function"]["name"], "execute_python");
    let heard = requests[1]["messages"].as_array().and_then(|all| all.last()).expect("messages");
    assert_eq!((&heard["role"], &heard["tool_call_id"]), (&json!("tool"), &json!("call_1")));
    let told = heard["content"].as_str().expect("text");
    for words in ["2432902008176640000", "ZeroDivisionError", "1 / 0"] {
        assert!(told.contains(words), "{told}");
    }
    assert!(!told.contains("[object"), "{told}");
}

#[test]
fn the_fifth_call_is_followed_by_a_request_without_tools_and_an_answer() {
    let Some(place) = Place::for_code("the_fifth_call_is_followed_by_a_request_without_tools_and_an_answer")
    else {
        return;
    };
    let mut replies: Vec<_> = (0..5).map(|number| call(&format!("print({number})"))).collect();
    replies.push(text("Enough: 4."));
    let model = Scripted::start(replies);
    let ran = place.run(&["ask", "--json", "--model", "scripted-1", "--base-url", &model.url, "Go on"]);
    let answer = ran.json();
    assert_eq!(answer["output"], "Enough: 4.", "{ran:?}");
    assert_eq!(answer["runs"].as_array().map(Vec::len), Some(5));
    let requests = model.requests();
    let last = requests.last().expect("six requests");
    assert!(last.get("tools").is_none() || last["tool_choice"] == "none", "{last}");
}
