//! A decoder of server-sent events: bytes in at any cut, whole events out.
//!
//! It keeps the event's name and data and drops comments, `id` and `retry`; reconnecting is not its business.

/// The most bytes of one event; a whole tool call with a long cell fits many times.
pub(crate) const MAX_EVENT_BYTES: usize = 8 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` field; empty when there is none.
    pub(crate) name: String,
    /// The `data:` lines, joined by line feeds.
    pub(crate) data: String,
}

/// An event grew beyond [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// The state between two pieces of the stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    /// The last byte was CR: an LF that follows belongs to it.
    after_carriage_return: bool,
    /// The first line was seen, so a byte order mark is no longer expected.
    past_first_line: bool,
}

impl Decoder {
    /// Takes the next bytes and returns the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLarge> {
        let mut events = Vec::new();
        for &byte in bytes {
            let line_feed_of_pair = byte == b'\n' && self.after_carriage_return;
            self.after_carriage_return = byte == b'\r';
            match byte {
                b'\n' if line_feed_of_pair => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT_BYTES {
                return Err(EventTooLarge);
            }
        }
        Ok(events)
    }

    /// Ends the stream; returns the last event when its blank line is missing.
    pub(crate) fn finish(mut self) -> Option<Event> {
        if !self.line.is_empty() {
            // Not a blank line, so it completes no event by itself.
            self.end_line();
        }
        self.take_event()
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !self.past_first_line {
            self.past_first_line = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.take_event();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match &line[..colon] {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                None => self.data = Some(value.into_owned()),
            },
            b"event" => self.name = value.into_owned(),
            // A comment (no name), `id`, `retry` or something unknown.
            _ => {}
        }
        None
    }

    fn take_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        self.data.take().map(|data| Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(decoder.feed(piece).unwrap());
        }
        events.extend(decoder.finish());
        events
    }

    fn data(text: &str) -> Event {
        Event { name: String::new(), data: text.to_owned() }
    }

    const STREAM: &str = "\u{feff}: hello\n\ndata: {\"a\":\"é😀\"}\n\nid: 7\nretry: 10\nevent: error\ndata:one\ndata:  two\n\n\
                          event: lonely\n\ndata\n\ndata: [DONE]";

    fn expected() -> Vec<Event> {
        vec![
            data("{\"a\":\"é😀\"}"),
            Event { name: "error".to_owned(), data: "one\n two".to_owned() },
            data(""),
            data("[DONE]"),
        ]
    }

    #[test]
    fn every_field_and_a_missing_last_blank_line() {
        assert_eq!(decode(&[STREAM.as_bytes()]), expected());
    }

    #[test]
    fn any_line_ending_at_any_split_gives_the_same_events() {
        for ending in ["\n", "\r\n", "\r"] {
            let stream = STREAM.replace('\n', ending);
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                assert_eq!(decode(&[&bytes[..cut], &bytes[cut..]]), expected(), "{ending:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(&single), expected(), "{ending:?} byte by byte");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..=8).any(|_| decoder.feed(&piece) == Err(EventTooLarge)));
        let mut decoder = Decoder::default();
        let line = [b"data:".as_slice(), &[b'x'; 4096], b"\n"].concat();
        assert!((0..4096).any(|_| decoder.feed(&line) == Err(EventTooLarge)));
    }

    proptest! {
        #[test]
        fn texts_survive_any_cut(
            texts in prop::collection::vec("[^\r\n]{0,40}", 0..6),
            cuts in prop::collection::vec(1usize..9, 1..40),
            ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        ) {
            let events: Vec<String> =
                texts.iter().map(|text| format!(": c{ending}data: {text}{ending}{ending}")).collect();
            let stream = events.concat();
            let mut rest = stream.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            let events: Vec<String> = decode(&pieces).into_iter().map(|event| event.data).collect();
            prop_assert_eq!(events, texts);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            decode(&[&bytes]);
        }
    }
}
