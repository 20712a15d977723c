//! Answers in the shapes that providers really send, re-typed and minimal, each with what must be read from it.

use reckon_model::{Call, Finish, Reply, Usage};
use serde_json::{Value, json};

/// One answer: its events, in order; text that is no JSON is sent as it is.
pub(crate) struct Cassette {
    pub(crate) name: &'static str,
    pub(crate) events: Vec<String>,
    pub(crate) reply: Reply,
}

#[allow(clippy::needless_pass_by_value)]
fn delta(delta: Value) -> String {
    json!({"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
        .to_string()
}

fn finish(reason: &str) -> String {
    json!({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
}

fn usage() -> String {
    json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
           "completion_tokens_details": {"reasoning_tokens": 3}, "prompt_tokens_details": {"cached_tokens": 2}}})
    .to_string()
}

const USAGE: Option<Usage> =
    Some(Usage { input_tokens: 11, cached_tokens: 2, output_tokens: 7, reasoning_tokens: 3 });

fn call(id: &str, arguments: &str) -> Call {
    Call { id: id.to_owned(), name: "execute_python".to_owned(), arguments: arguments.to_owned() }
}

fn calls(calls: Vec<Call>) -> Reply {
    Reply { calls, finish: Some(Finish::Calls), usage: USAGE, ..Reply::default() }
}

const CODE: &str = "{\"code\": \"print('é😀')\\nprint(1)\"}";

/// Returns every cassette.
pub(crate) fn all() -> Vec<Cassette> {
    let done = || "[DONE]".to_owned();
    let (first, second) = CODE.split_at(14);
    vec![
        Cassette {
            name: "text",
            events: vec![
                delta(json!({"role": "assistant", "content": ""})),
                delta(json!({"content": "Grüße, "})),
                delta(json!({"content": "😀 <b>"})),
                delta(json!({"content": [{"type": "text", "text": " {1}"}]})),
                finish("stop"),
                usage(),
                done(),
            ],
            reply: Reply { text: "Grüße, 😀 <b> {1}".to_owned(), finish: Some(Finish::Stop), usage: USAGE, ..Reply::default() },
        },
        Cassette {
            name: "openai: incremental call after text",
            events: vec![
                delta(json!({"role": "assistant", "content": "Let me compute."})),
                delta(json!({"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "execute_python", "arguments": ""}}]})),
                delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": first}}]})),
                delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": second}}]})),
                finish("tool_calls"),
                usage(),
                done(),
            ],
            reply: Reply { text: "Let me compute.".to_owned(), ..calls(vec![call("call_a", CODE)]) },
        },
        Cassette {
            name: "ollama: reasoning, then the whole call in one chunk, finish stop",
            events: vec![
                delta(json!({"role": "assistant", "content": "", "reasoning": "I run "})),
                delta(json!({"content": "", "reasoning": "it."})),
                delta(json!({"content": "", "tool_calls": [{"index": 0, "id": "call_o", "type": "function", "function": {"name": "python", "arguments": CODE}}]})),
                finish("stop"),
                usage(),
                done(),
            ],
            reply: Reply { reasoning: "I run it.".to_owned(), finish: Some(Finish::Stop), ..calls(vec![call("call_o", CODE)]) },
        },
        Cassette {
            name: "vllm: one delta with everything",
            events: vec![
                delta(json!({"reasoning": "Two.", "content": "Both:", "tool_calls": [
                    {"index": 0, "id": "a", "function": {"name": "execute_python", "arguments": "{\"code\":"}},
                    {"index": 1, "id": "b", "function": {"name": "execute_python<|channel|>commentary", "arguments": "{\"code\": \"2\"}"}}]})),
                delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": " \"1\"}"}}]})),
                finish("tool_calls"),
                usage(),
                done(),
            ],
            reply: Reply {
                text: "Both:".to_owned(),
                reasoning: "Two.".to_owned(),
                ..calls(vec![call("a", "{\"code\": \"1\"}"), call("b", "{\"code\": \"2\"}")])
            },
        },
        Cassette {
            name: "workers-ai: nulls at the end, three finishes, two usages",
            events: vec![
                delta(json!({"reasoning_content": "Hm."})),
                delta(json!({"content": null, "tool_calls": [{"index": 0, "id": "chatcmpl-tool-1", "type": "function", "function": {"name": "execute_python", "arguments": first}}]})),
                delta(json!({"tool_calls": [{"index": 0, "id": null, "function": {"name": null, "arguments": second}}]})),
                json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": null, "type": null, "function": {"name": null, "arguments": ""}}]},
                       "finish_reason": "tool_calls", "stop_reason": 200_012, "token_ids": null}]}).to_string(),
                finish("tool_calls"),
                finish("tool_calls"),
                usage(),
                usage(),
                done(),
            ],
            reply: Reply { reasoning: "Hm.".to_owned(), ..calls(vec![call("chatcmpl-tool-1", CODE)]) },
        },
        Cassette {
            name: "openrouter: both forms of reasoning",
            events: vec![
                delta(json!({"content": "", "reasoning": "Well.", "reasoning_details": [{"type": "reasoning.text", "text": "Well."}]})),
                delta(json!({"content": "", "reasoning": null, "reasoning_details": [{"type": "reasoning.text", "text": " So."}]})),
                delta(json!({"content": "120"})),
                json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "native_finish_reason": "stop"}]}).to_string(),
                usage(),
                done(),
            ],
            reply: Reply {
                text: "120".to_owned(),
                reasoning: "Well. So.".to_owned(),
                finish: Some(Finish::Stop),
                usage: USAGE,
                ..Reply::default()
            },
        },
        Cassette {
            name: "a proxy that sends every call as index 0",
            events: vec![
                delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "execute_python", "arguments": "{\"code\": "}}]})),
                delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "\"1\"}"}}]})),
                delta(json!({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "execute_python", "arguments": "{\"code\": \"2\"}"}}]})),
                finish("tool_calls"),
                usage(),
                done(),
            ],
            reply: calls(vec![call("a", "{\"code\": \"1\"}"), call("b", "{\"code\": \"2\"}")]),
        },
        Cassette {
            name: "together: name first, then arguments without index and id",
            events: vec![
                delta(json!({"tool_calls": [{"id": "t", "function": {"name": "functions.execute_python", "arguments": ""}}]})),
                delta(json!({"tool_calls": [{"function": {"arguments": first}}]})),
                delta(json!({"tool_calls": [{"function": {"arguments": second}}]})),
                finish("tool_calls"),
                usage(),
                done(),
            ],
            reply: calls(vec![call("t", CODE)]),
        },
        Cassette {
            name: "arguments as an object, as nothing, and before the name; no ids",
            events: vec![
                delta(json!({"tool_calls": [{"function": {"name": "execute_python", "arguments": {"code": "1"}}}]})),
                delta(json!({"tool_calls": [{"function": {"name": "execute_python"}}]})),
                delta(json!({"tool_calls": [{"index": 5, "id": "late", "function": {"arguments": "{\"code\": "}}]})),
                delta(json!({"tool_calls": [{"index": 5, "function": {"name": "execute_python", "arguments": "\"3\"}"}}]})),
                finish("tool_calls"),
                usage(),
                done(),
            ],
            reply: calls(vec![
                call("call_1_0", "{\"code\":\"1\"}"),
                call("call_1_1", "{}"),
                call("late", "{\"code\": \"3\"}"),
            ]),
        },
        Cassette {
            name: "a call that leaked as harmony text",
            events: vec![
                delta(json!({"content": "I run it. <|sta"})),
                delta(json!({"content": "rt|>assistant<|channel|>commentary to=functions.execute_python <|constrain|>json<|message|>"})),
                delta(json!({"content": CODE})),
                delta(json!({"content": "<|call|>"})),
                finish("stop"),
                usage(),
                done(),
            ],
            reply: Reply {
                text: "I run it. ".to_owned(),
                finish: Some(Finish::Stop),
                ..calls(vec![call("call_1_0", CODE)])
            },
        },
        Cassette {
            name: "a call that leaked as JSON",
            events: vec![
                delta(json!({"content": "{\"name\": \"execute_python\", "})),
                delta(json!({"content": "\"arguments\": {\"code\": \"1\"}}"})),
                finish("stop"),
                usage(),
                done(),
            ],
            reply: Reply { finish: Some(Finish::Stop), ..calls(vec![call("call_1_0", "{\"code\":\"1\"}")]) },
        },
        Cassette {
            name: "the old function_call, cut by the length",
            events: vec![
                delta(json!({"function_call": {"name": "execute_python", "arguments": "{\"code\": "}})),
                delta(json!({"function_call": {"arguments": "\"pri"}})),
                finish("length"),
                usage(),
                done(),
            ],
            reply: Reply {
                finish: Some(Finish::Length),
                ..calls(vec![call("call_1_0", "{\"code\": \"pri")])
            },
        },
    ]
}
