//! Files of a workspace over HTTP. Nothing that a browser would run is ever shown from this origin:
//! images of four kinds are shown, everything else is a download.

use axum::{
    Json,
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use reckon_protocol::{FileEntry, Problem, ProblemCode};
use reckon_sandbox::{RelativePath, Sandbox};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use crate::refusal::Refusal;

/// Read and sent at once.
const CHUNK: u64 = 64 * 1024;

/// Bitmaps, which run nothing. SVG is a document with scripts.
const SHOWN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Returns the address of a file below `/api/{kind}/{owner}/files/`.
pub(crate) fn url(kind: &str, owner: &str, name: &str) -> String {
    format!("/api/{kind}/{owner}/files/{}", percent_encoded(name, b"/"))
}

/// The files of a workspace; `notice` says what is left out, and is absent when nothing is.
#[derive(Debug, Serialize)]
struct Listed {
    files: Vec<FileEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<String>,
}

/// Removes a file.
pub(crate) async fn remove(sandbox: &Sandbox, path: &str) -> Result<StatusCode, Refusal> {
    sandbox.remove_file(&parse(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the list of files.
pub(crate) async fn list(sandbox: &Sandbox, kind: &str, owner: &str) -> Result<Response, Refusal> {
    let listing = sandbox.list_files().await?;
    let mut files: Vec<FileEntry> = listing.files.into_iter().map(|file| file.entry).collect();
    for file in &mut files {
        file.url = Some(url(kind, owner, &file.name));
    }
    Ok(Json(Listed { files, notice: listing.notice }).into_response())
}

/// Returns the content of a file.
pub(crate) async fn content(sandbox: &Sandbox, path: &str) -> Result<Response, Refusal> {
    let path = parse(path)?;
    let (file, known) = sandbox.open_file(&path).await?;
    let shown = SHOWN.contains(&known.entry.mime.as_str());
    let kind = if shown { known.entry.mime.as_str() } else { download_kind(&known.entry.mime) };
    let size = known.entry.size;
    let mut response = Body::from_stream(chunks(file, size)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap_or(OCTETS));
    headers.insert(header::CONTENT_DISPOSITION, disposition(shown, path.as_str()));
    let sandboxed = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(HeaderName::from_static("content-security-policy"), sandboxed);
    Ok(response)
}

/// Parses the path of a file as it stands in a URL.
pub(crate) fn parse(path: &str) -> Result<RelativePath, Problem> {
    path.parse::<RelativePath>().map_err(|error| error.to_problem())
}

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A download keeps its type, except where a browser could be talked into running it.
fn download_kind(mime: &str) -> &str {
    let active = ["html", "xml", "svg", "javascript", "ecmascript", "wasm", "multipart"];
    if active.iter().any(|word| mime.contains(word)) { "application/octet-stream" } else { mime }
}

/// The file's size was promised; a file that shrank meanwhile ends the connection, never the server.
fn chunks(file: tokio::fs::File, size: u64) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(file.take(size), |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK as usize);
        let read = (&mut file).take(CHUNK).read_to_end(&mut chunk).await?;
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}

/// Returns `Content-Disposition` with the name in the form of RFC 6266 and RFC 8187.
fn disposition(shown: bool, path: &str) -> HeaderValue {
    let kind = if shown { "inline" } else { "attachment" };
    let name = path.rsplit('/').next().unwrap_or(path);
    let text = format!("{kind}; filename*=UTF-8''{}", percent_encoded(name, b""));
    HeaderValue::from_str(&text).expect("percent-encoded text is visible ASCII")
}

/// Encodes everything but unreserved characters (RFC 3986 §2.3) and those in `kept`.
fn percent_encoded(text: &str, kept: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// Answers an upload that was written.
pub(crate) fn written(mut file: FileEntry, kind: &str, owner: &str) -> Response {
    file.url = Some(url(kind, owner, &file.name));
    (StatusCode::CREATED, Json(file)).into_response()
}

/// The problem of a server that holds as many uploads as it can.
pub(crate) fn uploads_full() -> Problem {
    Problem::new(ProblemCode::Busy, "Too many uploads at once.").with_hint("try again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_in_addresses_and_headers() {
        assert_eq!(url("sessions", "ses_1", "a b/ü?.csv"), "/api/sessions/ses_1/files/a%20b/%C3%BC%3F.csv");
        assert_eq!(disposition(false, "a/b\"\r\n.csv"), "attachment; filename*=UTF-8''b%22%0D%0A.csv");
        assert_eq!(disposition(true, "plot.png"), "inline; filename*=UTF-8''plot.png");
    }

    #[test]
    fn what_a_browser_runs_is_never_served_as_such() {
        for kind in ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "text/xml"] {
            assert_eq!(download_kind(kind), "application/octet-stream");
            assert!(!SHOWN.contains(&kind));
        }
        assert_eq!(download_kind("text/csv"), "text/csv");
    }
}
