//! The Chat Completions wire: every cassette under every mutation, failures, retries, and what is sent.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reckon_model::{
    ChatModel, ChatSettings, Delta, Endpoint, Finish, Message, Model as _, ModelError, Provider, Reply,
    Request, Secret, Tool, ToolChoice, Transport, parse_execute_python,
};
use serde_json::{Value, json};

use crate::cassettes;
use crate::upstream::{End, Played, Upstream};

const KEY: &str = "sk-test-very-secret";

fn settings(base_url: String) -> ChatSettings {
    ChatSettings {
        provider: Provider::Generic,
        base_url,
        name: "test-model".to_owned(),
        api_key: Some(Secret::new(KEY)),
        context_tokens: Some(8192),
        sees_images: false,
        reasoning_effort: None,
        transport: Transport::default(),
    }
}

fn model(upstream: &Upstream) -> ChatModel {
    ChatModel::new(settings(upstream.base_url())).unwrap()
}

fn request() -> Request {
    Request {
        system: "Be exact.".to_owned(),
        messages: vec![Message::user("Compute.")],
        tools: vec![Tool::execute_python("Runs Python.")],
        ..Request::default()
    }
}

/// Reads an answer and checks what holds for every one.
async fn ask(model: &ChatModel) -> Result<Reply, ModelError> {
    let mut answer = model.ask(request());
    let mut reply = Reply::default();
    while let Some(delta) = answer.next().await {
        let delta = delta?;
        assert_eq!(reply.finish, None, "nothing follows the end");
        match &delta {
            Delta::CallStarted { index, id, name } => {
                assert_eq!(*index, reply.calls.len(), "indices count up");
                assert!(!id.is_empty() && !name.is_empty());
                assert!(reply.calls.iter().all(|call| call.id != *id), "ids are unique");
            }
            Delta::CallArguments { index, fragment } => {
                assert!(*index < reply.calls.len() && !fragment.is_empty());
            }
            Delta::Text(text) | Delta::Reasoning(text) => assert!(!text.is_empty()),
            Delta::Finished { .. } => {}
        }
        reply.absorb(&delta);
    }
    assert!(reply.finish.is_some(), "a stream without an error ends with the end");
    Ok(reply)
}

async fn ask_playing(answers: Vec<Played>) -> (Result<Reply, ModelError>, usize) {
    let upstream = Upstream::playing(answers).await;
    let reply = ask(&model(&upstream)).await;
    (reply, upstream.asked().len())
}

/// Writes events as a stream, with a comment before each where wanted.
fn sse(events: &[String], ending: &str, comments: &str) -> Vec<u8> {
    let framed: Vec<String> =
        events.iter().map(|event| format!("{comments}data: {event}{ending}{ending}")).collect();
    framed.concat().into_bytes()
}

/// Doubles every chunk that carries a finish or a usage, without its delta.
fn with_doubles(events: &[String]) -> Vec<String> {
    let mut doubled = Vec::new();
    for event in events {
        doubled.push(event.clone());
        let Ok(mut chunk) = serde_json::from_str::<Value>(event) else { continue };
        if chunk.get("usage").is_some() || chunk["choices"][0]["finish_reason"].is_string() {
            if chunk["choices"][0].is_object() {
                chunk["choices"][0]["delta"] = json!({});
            }
            doubled.push(chunk.to_string());
        }
    }
    doubled
}

fn sliced(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    if size > 0 {
        return bytes.chunks(size).map(<[u8]>::to_vec).collect();
    }
    // "Random" sizes from a fixed recurrence, so that a failure can be repeated.
    let (mut pieces, mut rest, mut state) = (Vec::new(), bytes, 12_345_usize);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
        let (piece, tail) = rest.split_at((1 + state % 61).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = tail;
    }
    pieces
}

#[tokio::test]
async fn every_cassette_reads_the_same_under_every_mutation() {
    for cassette in cassettes::all() {
        let doubled = with_doubles(&cassette.events);
        let without_done: Vec<String> =
            cassette.events.iter().filter(|event| *event != "[DONE]").cloned().collect();
        let mut plays = Vec::new();
        for (events, what) in
            [(&cassette.events, "plain"), (&doubled, "doubled"), (&without_done, "no [DONE]")]
        {
            for (ending, comments) in
                [("\n", ""), ("\r\n", ": PROCESSING\r\n\r\nevent: message\r\nid: 1\r\n")]
            {
                let bytes = sse(events, ending, comments);
                for size in [1, 7, 0, bytes.len()] {
                    plays.push((
                        format!("{}, {what}, {ending:?}, slices of {size}", cassette.name),
                        sliced(&bytes, size),
                    ));
                }
            }
        }
        let answers = plays.iter().map(|(_, pieces)| Played::stream(pieces.clone())).collect();
        let upstream = Upstream::playing(answers).await;
        let model = model(&upstream);
        for (what, _) in plays {
            assert_eq!(ask(&model).await.as_ref(), Ok(&cassette.reply), "{what}");
        }
    }
}

#[tokio::test]
async fn a_cut_before_the_finish_is_never_a_success() {
    for cassette in cassettes::all() {
        let ends = cassette.events.iter().position(|event| {
            event == "[DONE]"
                || serde_json::from_str::<Value>(event).unwrap()["choices"][0]["finish_reason"].is_string()
        });
        for kept in 0..cassette.events.len() {
            for end in [End::Clean, End::Reset] {
                let bytes = sse(&cassette.events[..kept], "\n", "");
                let played = Played::stream(vec![bytes]).ending(end);
                let reply = ask_playing(vec![played]).await.0;
                if kept <= ends.unwrap() {
                    assert_eq!(reply, Err(ModelError::Cut), "{} cut after {kept} ({end:?})", cassette.name);
                } else {
                    assert_eq!(
                        reply.unwrap().text,
                        cassette.reply.text,
                        "{} whole after {kept}",
                        cassette.name
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_reply_that_was_not_streamed_is_read() {
    let message = json!({"role": "assistant", "content": "Run:", "reasoning": "R", "tool_calls":
        [{"id": "c", "type": "function", "function": {"name": "execute_python", "arguments": {"code": "1"}}}]});
    let whole = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let native = json!({"success": true, "result": {"response": "Hi", "tool_calls": []}});
    let (reply, _) = ask_playing(vec![Played::json(200, &whole)]).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.reasoning.as_str()), ("Run:", "R"));
    assert_eq!(parse_execute_python(&reply.calls[0]).as_deref(), Ok("1"));
    assert_eq!(reply.usage.unwrap().output_tokens, 2);
    assert_eq!(ask_playing(vec![Played::json(200, &native)]).await.0.unwrap().text, "Hi");
    let error = json!({"success": false, "errors": [{"code": 8001, "message": "bad"}], "error": "bad"});
    assert!(matches!(ask_playing(vec![Played::json(200, &error)]).await.0, Err(ModelError::Upstream { .. })));
    assert!(matches!(
        ask_playing(vec![Played::json(200, &json!({}))]).await.0,
        Err(ModelError::Protocol { .. })
    ));
    let page = Played::stream(vec![b"<html>".to_vec()]);
    let page = Played { headers: vec![("content-type", "text/html; charset=utf-8".to_owned())], ..page };
    assert!(matches!(ask_playing(vec![page]).await.0, Err(ModelError::Protocol { .. })));
}

#[tokio::test]
async fn errors_in_mid_stream_are_errors() {
    let text = json!({"choices": [{"index": 0, "delta": {"content": "Hel"}}]}).to_string();
    let errors = [
        json!({"error": {"message": "boom", "code": 502}}).to_string(),
        json!({"error": "boom"}).to_string(),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "boom"}}]}).to_string(),
    ];
    for error in errors {
        let events = [text.clone(), error, "[DONE]".to_owned()];
        let reply = ask_playing(vec![Played::stream(vec![sse(&events, "\n", "")])]).await.0;
        let Err(ModelError::Upstream { message }) = reply else { panic!("{reply:?}") };
        assert!(message.contains("boom"), "{message}");
    }
    let named = b"event: error\ndata: {\"message\": \"boom\"}\n\n".to_vec();
    assert!(matches!(
        ask_playing(vec![Played::stream(vec![named])]).await.0,
        Err(ModelError::Upstream { .. })
    ));
    let broken = b"data: {\"choices\": [\n\n".to_vec();
    assert!(matches!(
        ask_playing(vec![Played::stream(vec![broken])]).await.0,
        Err(ModelError::Protocol { .. })
    ));
    let hostile = json!({"choices": [{"delta": {"tool_calls": [{"index": 4_000_000_000_u64, "function": {"name": "x"}}]}}]});
    let hostile = sse(&[hostile.to_string()], "\n", "");
    assert!(matches!(
        ask_playing(vec![Played::stream(vec![hostile])]).await.0,
        Err(ModelError::Protocol { .. })
    ));
}

fn good() -> Played {
    let events = [json!({"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop"}]}).to_string()];
    Played::stream(vec![sse(&events, "\n", "")])
}

fn limited(after: &str) -> Played {
    Played::json(429, &json!({"error": {"message": "slow down"}})).header("retry-after", after)
}

#[tokio::test]
async fn retry_after_is_obeyed_within_bounds() {
    let started = Instant::now();
    let (reply, asked) = ask_playing(vec![limited("0.2"), limited("0"), good()]).await;
    assert_eq!((reply.unwrap().text.as_str(), asked), ("ok", 3));
    assert!(started.elapsed() >= Duration::from_millis(200));
    let (reply, asked) = ask_playing(vec![limited("0")]).await;
    assert!(matches!(reply, Err(ModelError::RateLimited { retry_after: Some(_), .. })), "{reply:?}");
    assert_eq!(asked, 3, "two retries");
    let (reply, asked) = ask_playing(vec![limited("3600")]).await;
    let error = reply.unwrap_err();
    assert!(error.hint().contains("3600 s"), "{}", error.hint());
    assert_eq!(asked, 1, "a long wait is told, not waited for");
    let no_credit = Played::json(429, &json!({"error": {"message": "no", "code": "insufficient_quota"}}));
    assert_eq!(ask_playing(vec![no_credit]).await.1, 1);
    let busy = Played::json(503, &json!({"error": "loading"})).header("retry-after", "0");
    assert_eq!(ask_playing(vec![busy, good()]).await.0.unwrap().text, "ok");
}

#[tokio::test]
async fn a_parse_error_of_the_server_is_salvaged_or_retried() {
    let raw = |raw: &str| {
        let message =
            format!("error parsing tool call: raw='{raw}', err=invalid character '\\n' in string literal");
        Played::json(500, &json!({"error": {"message": message, "type": "api_error"}}))
            .header("retry-after", "0")
    };
    let (reply, asked) = ask_playing(vec![raw("{\"code\": \"a = 1\nprint(a)\"}")]).await;
    let reply = reply.unwrap();
    assert_eq!(parse_execute_python(&reply.calls[0]).as_deref(), Ok("a = 1\nprint(a)"));
    assert_eq!((reply.finish, asked), (Some(Finish::Calls), 1));
    let (reply, asked) = ask_playing(vec![raw("{\"code\": \"pri"), good()]).await;
    assert_eq!((reply.unwrap().text.as_str(), asked), ("ok", 2));
    let (reply, asked) = ask_playing(vec![raw("{\"code\": \"pri")]).await;
    assert!(matches!(reply, Err(ModelError::Rejected { status: 500, .. })));
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn refusals_are_typed_and_never_show_the_key() {
    let words = json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "type": "x"}});
    for status in [400, 401, 403, 404, 413, 418] {
        let (reply, asked) = ask_playing(vec![Played::json(status, &words)]).await;
        let error = reply.unwrap_err();
        assert_eq!(asked, 1, "{status} is not retried");
        let shown = format!("{error} {error:?} {}", error.hint());
        assert!(!shown.contains(KEY) && shown.contains("[key]"), "{shown}");
        let typed = match status {
            401 | 403 => matches!(error, ModelError::Auth { .. }),
            404 => matches!(error, ModelError::NotFound { .. }),
            _ => matches!(error, ModelError::Rejected { .. }),
        };
        assert!(typed, "{status}: {error:?}");
    }
    let leaky = [json!({"error": format!("key {KEY}")}).to_string()];
    let error = ask_playing(vec![Played::stream(vec![sse(&leaky, "\n", "")])]).await.0.unwrap_err();
    assert!(!format!("{error:?}").contains(KEY));
    assert!(!format!("{:?}", settings("http://127.0.0.1:1".to_owned())).contains(KEY));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Upstream::playing(vec![good()]).await;
    let redirect =
        Played::json(307, &json!({})).header("location", &format!("{}/chat/completions", other.base_url()));
    let (reply, _) = ask_playing(vec![redirect]).await;
    assert!(matches!(reply, Err(ModelError::Rejected { status: 307, .. })), "{reply:?}");
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let short = Transport {
        first_byte_timeout: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(100),
        ..Transport::default()
    };
    let begun = json!({"choices": [{"delta": {"content": "Hel"}}]}).to_string();
    let hanging = Played::stream(vec![sse(&[begun], "\n", "")]).ending(End::Hang);
    let upstream = Upstream::playing(vec![hanging]).await;
    let model =
        ChatModel::new(ChatSettings { transport: short.clone(), ..settings(upstream.base_url()) }).unwrap();
    assert!(matches!(ask(&model).await, Err(ModelError::Timeout { .. })));
    // A server that accepts and never answers.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", mute.local_addr().unwrap());
    let model = ChatModel::new(ChatSettings { transport: short, ..settings(url) }).unwrap();
    assert!(matches!(ask(&model).await, Err(ModelError::Timeout { .. })));
}

#[tokio::test]
async fn a_finished_answer_survives_a_hanging_connection() {
    let played = Played { end: End::Hang, ..good() };
    let upstream = Upstream::playing(vec![played]).await;
    let transport = Transport { idle_timeout: Duration::from_millis(50), ..Transport::default() };
    let model = ChatModel::new(ChatSettings { transport, ..settings(upstream.base_url()) }).unwrap();
    assert_eq!(ask(&model).await.unwrap().text, "ok");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let model = ChatModel::new(settings(url)).unwrap();
    let error = ask(&model).await.unwrap_err();
    assert!(matches!(&error, ModelError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn dropping_the_answer_cancels_the_request() {
    let begun = json!({"choices": [{"delta": {"content": "Hel"}}]}).to_string();
    let (gone, mut is_gone) = tokio::sync::mpsc::channel::<()>(1);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 65_536];
        assert!(connection.read(&mut buffer).await.unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        connection.write_all(format!("{head}data: {begun}\n\n").as_bytes()).await.unwrap();
        // Reads until the client has hung up.
        while connection.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        gone.send(()).await.unwrap();
    });
    let mut answer = ChatModel::new(settings(url)).unwrap().ask(request());
    assert_eq!(answer.next().await.unwrap().unwrap(), Delta::Text("Hel".to_owned()));
    drop(answer);
    tokio::time::timeout(Duration::from_secs(5), is_gone.recv()).await.unwrap().unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn the_request_is_what_every_server_takes() {
    let upstream = Upstream::playing(vec![good()]).await;
    let model = model(&upstream);
    assert_eq!(model.endpoint(), &Endpoint::Loopback(upstream.base_url()));
    assert_eq!((model.name(), model.context_tokens()), ("test-model", Some(8192)));
    let last = Request { tool_choice: ToolChoice::None, ..request() };
    Reply::collect(model.ask(last)).await.unwrap();
    let asked = upstream.asked().remove(0);
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer sk-test-very-secret"));
    assert_eq!(asked.body["model"], "test-model");
    assert_eq!((&asked.body["stream"], &asked.body["tool_choice"]), (&json!(true), &json!("none")));
    assert_eq!(asked.body["max_tokens"], 8192);
    assert_eq!(asked.body["messages"][0], json!({"role": "system", "content": "Be exact."}));
}
