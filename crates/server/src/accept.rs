//! Which shape a caller wants its events in, read from the Accept header (RFC 9110 §12.5.1).

use axum::http::{HeaderMap, header};

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One JSON document at the end.
    Whole,
    /// The events as they happen, as server-sent events.
    EventStream,
    /// The events as they happen, as JSON lines.
    Lines,
}

/// Returns the shape that the caller likes best; without a wish it is the whole.
pub(crate) fn shape(headers: &HeaderMap) -> Shape {
    let mut best = (Shape::Whole, 0.0_f32);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            if let Some((shape, quality)) = wish(range)
                && quality > best.1
            {
                best = (shape, quality);
            }
        }
    }
    best.0
}

fn wish(range: &str) -> Option<(Shape, f32)> {
    let mut parts = range.split(';');
    let kind = parts.next()?.trim().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
    let shape = match kind.as_str() {
        "text/event-stream" => Shape::EventStream,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Shape::Lines,
        "application/json" | "application/*" | "*/*" => Shape::Whole,
        _ => return None,
    };
    Some((shape, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_shape_wins() {
        for (accept, expected) in [
            ("", Shape::Whole),
            ("*/*", Shape::Whole),
            ("text/html", Shape::Whole),
            ("text/event-stream", Shape::EventStream),
            ("Text/Event-Stream; charset=utf-8", Shape::EventStream),
            ("application/x-ndjson, */*;q=0.1", Shape::Lines),
            ("application/json, text/event-stream", Shape::Whole),
            ("application/json;q=0.5, text/event-stream;q=0.9", Shape::EventStream),
            ("text/event-stream;q=0", Shape::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            assert_eq!(shape(&headers), expected, "{accept}");
        }
    }
}
