//! Reading request bodies: size and time are bounded, JSON is strict, and an unknown field is
//! answered with the name that was probably meant.

use std::{fmt, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;
use reckon_protocol::{Problem, ProblemCode};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use tokio::time::{Instant, timeout_at};

use crate::{nearest::nearest, refusal::Refusal};

/// A body that makes no progress for so long is given up.
const STALLED: Duration = Duration::from_secs(20);
/// Bytes a second that a body has to come to on the whole once that time is over: who sends a byte now and then would
/// hold a place for as long as he likes.
const SLOWEST: u64 = 16 * 1024;
/// A JSON body as a whole takes no longer.
const JSON_DEADLINE: Duration = Duration::from_secs(60);

/// Reads a JSON body into a native request.
pub(crate) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, Refusal> {
    let bytes = json_bytes(headers, body, limit).await?;
    Ok(typed(strict(&bytes)?)?)
}

/// Reads a JSON body that may be empty or absent, which means the defaults.
pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, Refusal> {
    let bytes = within(JSON_DEADLINE, read(headers, body, limit)).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    demand_json(headers)?;
    Ok(typed(strict(&bytes)?)?)
}

/// Reads the bytes of a body that says that it is JSON.
pub(crate) async fn json_bytes(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    demand_json(headers)?;
    within(JSON_DEADLINE, read(headers, body, limit)).await
}

/// Reads a whole body of at most `limit` bytes. A length that announces more is refused unread.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let message = "A compressed body is not accepted.";
        let problem =
            Problem::new(ProblemCode::UnsupportedMediaType, message).with_hint("send it uncompressed");
        return Err(problem.into());
    }
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    let begun = Instant::now();
    loop {
        let earned = Duration::from_secs(bytes.len() as u64 / SLOWEST);
        let deadline = (Instant::now() + STALLED).min(begun + STALLED + earned);
        let Some(chunk) = timeout_at(deadline, chunks.next()).await.map_err(|_| too_slow())? else { break };
        let chunk = chunk.map_err(|error| {
            Problem::new(ProblemCode::InvalidRequest, format!("The body could not be read: {error}"))
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    timeout_at(Instant::now() + deadline, work).await.map_err(|_| too_slow())?
}

fn demand_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let message = "The body has to be JSON.";
    Err(Problem::new(ProblemCode::UnsupportedMediaType, message)
        .with_hint("send the header Content-Type: application/json"))
}

fn too_large(limit: usize) -> Refusal {
    let message = format!("The body is larger than {limit} bytes.");
    Problem::new(ProblemCode::TooLarge, message)
        .with_hint("send less, or raise the limit of the server")
        .into()
}

fn too_slow() -> Refusal {
    let problem = Problem::new(ProblemCode::InvalidRequest, "The body did not arrive in time.");
    Refusal::from(problem).with_status(StatusCode::REQUEST_TIMEOUT)
}

/// Parses one JSON document: no duplicate fields, no trailing bytes, at most 128 levels deep.
pub(crate) fn strict(bytes: &[u8]) -> Result<Value, Problem> {
    let document: Strict = serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(ProblemCode::InvalidJson, format!("The body is not valid JSON: {error}"))
    })?;
    Ok(document.0)
}

/// Reads a native request out of a document, naming the field that does not fit.
pub(crate) fn typed<T: DeserializeOwned>(document: Value) -> Result<T, Problem> {
    if !document.is_object() {
        return Err(Problem::new(ProblemCode::InvalidRequest, "The body has to be a JSON object."));
    }
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        misfit(&path, &error.into_inner().to_string())
    })
}

/// Words what serde says for people. An unknown field reads "unknown field `x`, expected one of
/// `a`, `b`" there, from which the nearest known one is taken.
fn misfit(path: &str, said: &str) -> Problem {
    if said.starts_with("unknown field") {
        let mut quoted = said.split('`').skip(1).step_by(2);
        let field = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        let problem = Problem::new(ProblemCode::InvalidRequest, format!("unknown field `{path}`"));
        return match nearest(field, known.iter().copied()) {
            Some(meant) => problem.with_hint(format!("did you mean `{meant}`?")),
            None => problem.with_hint(format!("the fields here are {}", known.join(", "))),
        };
    }
    let message = if path == "." { said.to_owned() } else { format!("field `{path}`: {said}") };
    Problem::new(ProblemCode::InvalidRequest, message)
}

/// A JSON value in which no object names a field twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate field `{name}`")));
            }
            let Strict(value) = fields.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        code: String,
        #[allow(dead_code)]
        timeout_ms: Option<u64>,
    }

    fn ask(text: &str) -> Result<Asked, Problem> {
        typed(strict(text.as_bytes())?)
    }

    /// A body of so many pieces, one each so many seconds.
    fn dripping(pieces: usize, piece: usize, seconds: u64) -> Body {
        let drops = futures_util::stream::unfold(0, move |sent| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            (sent < pieces).then(|| (Ok::<_, std::io::Error>(vec![b'x'; piece]), sent + 1))
        });
        Body::from_stream(drops)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_and_a_slow_one_is_read() {
        let read = async |body| read(&HeaderMap::new(), body, 100 << 20).await.map(|bytes| bytes.len());
        // A megabyte each ten seconds is slow and honest; a kilobyte is a place held.
        assert_eq!(read(dripping(50, 1 << 20, 10)).await.expect("it comes"), 50 << 20);
        let begun = Instant::now();
        assert!(read(dripping(10_000, 1024, 10)).await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        // Nor is what came fast at first a leave to stop.
        assert!(read(dripping(2, 40 << 20, 0)).await.is_ok());
        assert!(read(dripping(2, 1 << 20, 25)).await.is_err());
    }

    #[test]
    fn a_whole_request_is_read() {
        let asked = ask(r#" {"code": "1\n2", "timeout_ms": 5} "#).expect("a request");
        assert_eq!((asked.code.as_str(), asked.timeout_ms), ("1\n2", Some(5)));
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "{",
            "{} {}",
            "{}x",
            "// no\n{}",
            "NaN",
            r#"{"a":1e400}"#,
            r#"{"a":1,"a":2}"#,
            r#"[{"b":{"a":1,"a":1}}]"#,
            &deep,
        ] {
            let problem = strict(text.as_bytes()).expect_err(text);
            assert_eq!(problem.code, ProblemCode::InvalidJson, "{text:.20}");
        }
        assert!(strict(b"\"\xff\"").is_err());
        assert!(strict(b"\xff\xfe{\0}\0").is_err());
    }

    #[test]
    fn the_misfitting_field_is_named() {
        for (text, message, hint) in [
            (
                r#"{"code":"1","timeoutms":5}"#,
                "unknown field `timeoutms`",
                Some("did you mean `timeout_ms`?"),
            ),
            (r#"{"code":"1","x":5}"#, "unknown field `x`", Some("the fields here are code, timeout_ms")),
            (r"{}", "missing field `code`", None),
            (r#"{"code":5}"#, "field `code`: invalid type: integer `5`, expected a string", None),
            (
                r#"{"code":"","timeout_ms":-1}"#,
                "field `timeout_ms`: invalid value: integer `-1`, expected u64",
                None,
            ),
            ("[]", "The body has to be a JSON object.", None),
        ] {
            let problem = ask(text).expect_err(text);
            assert_eq!((problem.message.as_str(), problem.hint.as_deref()), (message, hint));
            assert_eq!(problem.code, ProblemCode::InvalidRequest);
        }
    }
}
