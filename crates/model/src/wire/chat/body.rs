//! The request of the Chat Completions wire: a [`Request`] and the quirks of a provider become one JSON body.

use serde_json::{Map, Value, json};

use crate::quirks::{Quirks, ReasoningBack};
use crate::{Call, EXECUTE_PYTHON, Effort, Image, Message, Request, Tool, ToolChoice, parse_execute_python};

/// What the body depends on besides the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) model: &'a str,
    pub(crate) quirks: Quirks,
    pub(crate) sees_images: bool,
    /// The effort of the configuration, for requests that name none.
    pub(crate) effort: Option<Effort>,
}

/// Makes the body of a streaming request.
pub(crate) fn body(request: &Request, setting: Setting<'_>) -> Value {
    let quirks = setting.quirks;
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| body.insert(key.to_owned(), value);
    set("model", json!(setting.model));
    set("stream", json!(true));
    set("messages", messages(request, setting));
    set(quirks.max_tokens_key, json!(request.max_tokens));
    set("stream_options", json!({"include_usage": true}));
    if let Some(temperature) = request.temperature.filter(|_| quirks.temperature) {
        set("temperature", json!(f64::from(temperature)));
    }
    if let Some(effort) = request.reasoning_effort.or(setting.effort).or(quirks.default_effort) {
        set("reasoning_effort", json!(effort.as_str()));
    }
    let unsayable = request.tool_choice == ToolChoice::None && !quirks.tool_choice;
    if !request.tools.is_empty() && !unsayable {
        set("tools", request.tools.iter().map(tool).collect());
        if quirks.tool_choice {
            set("tool_choice", json!(choice(request.tool_choice)));
        }
        if quirks.parallel_tool_calls {
            set("parallel_tool_calls", json!(false));
        }
    }
    Value::Object(body)
}

fn messages(request: &Request, setting: Setting<'_>) -> Value {
    let system = (!request.system.is_empty()).then(|| json!({"role": "system", "content": request.system}));
    system.into_iter().chain(request.messages.iter().map(|message| one_message(message, setting))).collect()
}

fn one_message(message: &Message, setting: Setting<'_>) -> Value {
    match message {
        Message::User { text, images } if !images.is_empty() && setting.sees_images => {
            let text = json!({"type": "text", "text": text});
            let parts: Vec<Value> = std::iter::once(text).chain(images.iter().map(image)).collect();
            json!({"role": "user", "content": parts})
        }
        Message::User { text, .. } => json!({"role": "user", "content": text}),
        Message::ToolResult { call_id, name, text } => {
            json!({"role": "tool", "tool_call_id": call_id, "name": name, "content": text})
        }
        Message::Assistant { text, reasoning, calls } => {
            // An empty string, never null and never absent: Workers AI rejects both.
            let mut message = json!({"role": "assistant", "content": text});
            if !calls.is_empty() {
                message["tool_calls"] = calls.iter().map(call).collect();
                add_reasoning(&mut message, reasoning, setting.quirks.reasoning_back);
            }
            message
        }
    }
}

fn add_reasoning(message: &mut Value, reasoning: &str, back: ReasoningBack) {
    if reasoning.is_empty() {
        return;
    }
    if matches!(back, ReasoningBack::Reasoning | ReasoningBack::Both) {
        message["reasoning"] = json!(reasoning);
    }
    if matches!(back, ReasoningBack::ReasoningContent | ReasoningBack::Both) {
        message["reasoning_content"] = json!(reasoning);
    }
}

fn image(image: &Image) -> Value {
    json!({"type": "image_url", "image_url": {"url": format!("data:{};base64,{}", image.mime, image.base64)}})
}

fn call(call: &Call) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": valid_arguments(call)},
    })
}

/// Returns arguments that are a JSON object: a server that parses what we send back must not stumble over what it sent.
fn valid_arguments(call: &Call) -> String {
    if serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok() {
        return call.arguments.clone();
    }
    match parse_execute_python(call) {
        Ok(code) if call.name == EXECUTE_PYTHON => json!({"code": code}).to_string(),
        _ if call.arguments.trim().is_empty() => "{}".to_owned(),
        _ => json!({"code": call.arguments}).to_string(),
    }
}

fn tool(tool: &Tool) -> Value {
    json!({
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    })
}

fn choice(choice: ToolChoice) -> &'static str {
    match choice {
        ToolChoice::Auto => "auto",
        ToolChoice::None => "none",
        ToolChoice::Required => "required",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quirks::Provider;

    fn conversation() -> Request {
        let call = Call {
            id: "call_1".to_owned(),
            name: EXECUTE_PYTHON.to_owned(),
            arguments: "print(1)\nprint(2)".to_owned(),
        };
        Request {
            system: "Be exact.".to_owned(),
            messages: vec![
                Message::User {
                    text: "What is this?".to_owned(),
                    images: vec![Image { mime: "image/png".to_owned(), base64: "AAAA".to_owned() }],
                },
                Message::Assistant {
                    text: String::new(),
                    reasoning: "I should run it.".to_owned(),
                    calls: vec![call.clone()],
                },
                Message::tool_result(&call, "1\n2"),
            ],
            tools: vec![Tool::execute_python("Runs Python.")],
            temperature: Some(0.5),
            max_tokens: 900,
            ..Request::default()
        }
    }

    fn body_for(provider: Provider, request: &Request, sees_images: bool) -> Value {
        body(request, Setting { model: "m", quirks: Quirks::of(provider), sees_images, effort: None })
    }

    #[test]
    fn a_body_that_every_server_takes() {
        for provider in Provider::ALL {
            let body = body_for(provider, &conversation(), false);
            assert_eq!(body["messages"][2]["content"], "", "{provider}: never null, never absent");
            let arguments = body["messages"][2]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
            assert_eq!(arguments, "{\"code\":\"print(1)\\nprint(2)\"}", "{provider}: valid JSON goes back");
            assert_eq!(body["messages"][2]["tool_calls"][0]["id"], body["messages"][3]["tool_call_id"]);
            assert_eq!(body["tools"][0]["function"]["name"], "execute_python");
            assert_eq!(body["stream_options"]["include_usage"], true);
            assert_eq!(body["messages"][1]["content"], "What is this?", "{provider}: no base64 in text");
            let limits = (body.get("max_tokens"), body.get("max_completion_tokens"));
            assert!(matches!(limits, (Some(_), None) | (None, Some(_))), "{provider}: exactly one limit");
        }
    }

    #[test]
    fn the_switches_of_the_providers() {
        let asked = conversation();
        let openai = body_for(Provider::OpenAi, &asked, true);
        assert_eq!(openai["max_completion_tokens"], 900);
        assert!(openai.get("temperature").is_none() && openai["messages"][2].get("reasoning").is_none());
        assert_eq!(openai["messages"][1]["content"][1]["image_url"]["url"], "data:image/png;base64,AAAA");
        let workers = body_for(Provider::WorkersAi, &asked, false);
        assert_eq!(workers["reasoning_effort"], "medium");
        assert_eq!(workers["max_tokens"], 900);
        assert_eq!(workers["messages"][2]["reasoning_content"], "I should run it.");
        assert!(workers.get("parallel_tool_calls").is_none());
        let generic = body_for(Provider::Generic, &asked, false);
        assert_eq!(generic["messages"][2]["reasoning"], generic["messages"][2]["reasoning_content"]);
        assert_eq!(generic["temperature"], 0.5);
        assert!(generic.get("reasoning_effort").is_none());
    }

    #[test]
    fn no_tools_may_be_said_in_two_ways() {
        let last = Request { tool_choice: ToolChoice::None, ..conversation() };
        let ollama = body_for(Provider::Ollama, &last, false);
        assert!(ollama.get("tools").is_none() && ollama.get("tool_choice").is_none());
        let vllm = body_for(Provider::Vllm, &last, false);
        assert_eq!(vllm["tool_choice"], "none");
        assert!(vllm.get("tools").is_some());
    }
}
