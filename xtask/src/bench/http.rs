//! A client for one server on loopback: HTTP/1.1 over one kept-alive connection.
//!
//! Not a general client: no TLS, no redirects; it adds nothing to the time measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// Longer than any answer that is worth measuring.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Client {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
}

struct Answer {
    status: u16,
    bytes: Vec<u8>,
}

impl Answer {
    fn body(&self) -> Result<Value> {
        match self.bytes.as_slice() {
            [] => Ok(Value::Null),
            bytes => serde_json::from_slice(bytes).context("the body is JSON"),
        }
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address, reader: BufReader::new(stream) })
    }

    /// Sends a request and returns its answer; a status of 400 or more is an error.
    pub(super) fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.exchange(method, path, body)?;
        let body = answer.body().with_context(|| format!("{method} {path}"))?;
        if answer.status >= 400 {
            bail!("{method} {path}: {} {body}", answer.status);
        }
        Ok(body)
    }

    /// Makes a sandbox and returns its id.
    pub(super) fn create(&mut self, spec: &Value) -> Result<String> {
        let sandbox = self.call("POST", "/api/sandboxes", spec)?;
        let id = sandbox["id"].as_str().context("a sandbox has an id")?;
        Ok(id.to_owned())
    }

    /// Runs code and returns its outcome.
    pub(super) fn run(&mut self, id: &str, code: &str) -> Result<Value> {
        let path = format!("/api/sandboxes/{id}/executions");
        let outcome = self.call("POST", &path, &json!({"code": code}))?;
        ensure!(outcome["status"] == "ok", "`{code}` came to {}", outcome["status"]);
        Ok(outcome)
    }

    /// Runs code whose output is large, and returns how many bytes its outcome has. They are not parsed: this program
    /// is built without optimisation, and would be what is measured.
    pub(super) fn run_unread(&mut self, id: &str, code: &str) -> Result<usize> {
        let path = format!("/api/sandboxes/{id}/executions");
        let answer = self.exchange("POST", &path, &json!({"code": code}))?;
        let head = String::from_utf8_lossy(&answer.bytes[..answer.bytes.len().min(200)]);
        ensure!(
            answer.status == 200 && head.contains("\"status\":\"ok\""),
            "{path}: {} {head}",
            answer.status
        );
        Ok(answer.bytes.len())
    }

    /// Runs code that prints 1.
    pub(super) fn execute(&mut self, id: &str, code: &str) -> Result<()> {
        let outcome = self.run(id, code)?;
        ensure!(outcome["stdout"] == "1\n", "`{code}` came to {outcome}");
        Ok(())
    }

    /// Ends a sandbox.
    pub(super) fn delete(&mut self, id: &str) -> Result<()> {
        self.call("DELETE", &format!("/api/sandboxes/{id}"), &Value::Null).map(drop)
    }

    fn exchange(&mut self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let content_type = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\
             {content_type}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        read_answer(&mut self.reader).with_context(|| format!("{method} {path}"))
    }
}

fn read_answer(reader: &mut impl BufRead) -> Result<Answer> {
    let status_line = read_line(reader)?;
    let status = status_line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no status in `{status_line}`"))?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').context("a header has a colon")?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().context("content-length")?,
            "transfer-encoding" => is_chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let bytes = if is_chunked { read_chunks(reader)? } else { read_bytes(reader, length)? };
    Ok(Answer { status, bytes })
}

fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let digits = line.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(digits, 16).context("size of a chunk")?;
        body.extend(read_bytes(reader, size)?);
        read_line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_bytes(reader: &mut impl Read, size: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_a_length_is_read_and_no_more() {
        let mut bytes: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\n{\"a\": 1}rest";
        let answer = read_answer(&mut bytes).expect("valid");
        assert_eq!((answer.status, answer.body().expect("JSON")["a"].as_u64()), (201, Some(1)));
        assert_eq!(bytes, b"rest");
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let mut bytes: &[u8] =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 1}\r\n0\r\n\r\n";
        let answer = read_answer(&mut bytes).expect("valid");
        assert_eq!(answer.body().expect("JSON")["a"], 1);
        assert!(bytes.is_empty());
    }

    #[test]
    fn an_answer_without_a_body_is_null() {
        let mut bytes: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert!(read_answer(&mut bytes).expect("valid").body().expect("nothing").is_null());
    }
}
