//! The decoder against whatever a hostile driver may send: by hand, by the fuzzer's seeds, and at random.

use std::path::Path;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Decodes bytes as they arrive piece by piece: what was understood, and what ended it.
fn hear(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let (mut arrived, mut reports) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            let before = arrived.len();
            match decode(&mut arrived) {
                Ok(Some(Arrived { report, cost })) => {
                    assert!(arrived.len() < before, "a report is made of bytes");
                    assert!(cost <= HEAVIEST);
                    reports.push(format!("{report:?}"));
                }
                Ok(None) => {
                    assert_eq!(arrived.len(), before, "what is not whole stays");
                    break;
                }
                Err(problem) => return (reports, Some(problem)),
            }
        }
    }
    assert!(arrived.len() < HEADER + LONGEST, "what is kept is bounded");
    (reports, None)
}

/// The seeds of the fuzzer, name and bytes.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/frames");
    let mut seeds: Vec<_> = std::fs::read_dir(place)
        .expect("the seeds are committed")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (entry.file_name().into_string().expect("a name"), std::fs::read(entry.path()).expect("bytes"))
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn a_frame_arrives_byte_by_byte() {
    let whole = frame(r#"{"type":"finished","id":"a","status":"ok","execution_count":1}"#);
    let mut arrived = BytesMut::new();
    for &byte in &whole[..whole.len() - 1] {
        arrived.extend_from_slice(&[byte]);
        assert!(decode(&mut arrived).expect("nothing wrong").is_none());
    }
    arrived.extend_from_slice(&whole[whole.len() - 1..]);
    let decoded = decode(&mut arrived).expect("nothing wrong").expect("whole");
    assert!(matches!(decoded.report, Report::Finished { status: Ending::Ok, .. }));
    assert!(arrived.is_empty());
}

#[test]
fn text_counts_as_text_and_structure_as_what_it_costs() {
    let (words, levels) = (Shape::of(br#""x,[\",{""#), Shape::of(br#"{"a":[[1],2]}"#));
    assert_eq!((words.depth, words.cost), (0, 32 + 8));
    assert_eq!(levels.depth, 3);
    assert!(levels.cost > 640 + 2 * 128);
}

#[test]
fn hostile_frames_are_errors() {
    let display =
        |value: &str| frame(&format!(r#"{{"type":"display","id":"","n":1,"data":{{"x":{value}}}}}"#));
    for bytes in [
        u32::MAX.to_le_bytes().to_vec(),
        frame("not json"),
        frame(r#"{"type":"unheard of"}"#),
        frame(&"[".repeat(100_000)),
        display(&format!("[{}0]", "0,".repeat(3_000_000))),
        display(&format!("[{}0]", "{},".repeat(200_000))),
        display(&format!("{}{}", "[".repeat(120), "]".repeat(120))),
    ] {
        assert!(decode(&mut BytesMut::from(&bytes[..])).is_err());
    }
}

#[test]
fn a_figure_of_a_million_points_is_taken() {
    let axis = format!("[{}5]", "0.125,".repeat(999_999));
    let figure =
        format!(r#"{{"data":[{{"type":"scatter","x":{axis},"y":{}}}]}}"#, axis.replace("0.125", "1e9"));
    let bytes = frame(&format!(
        r#"{{"type":"result","id":"","n":1,"data":{{"application/vnd.plotly.v1+json":{figure}}},"execution_count":1}}"#
    ));
    assert!(matches!(decode(&mut BytesMut::from(&bytes[..])), Ok(Some(_))));
}

#[test]
fn the_seeds_are_what_they_are_called() {
    let seeds = seeds();
    assert!(seeds.len() > 30);
    for (name, bytes) in &seeds {
        let (reports, problem) = hear(&[bytes]);
        if !name.starts_with("hostile-") {
            assert!(problem.is_none() && !reports.is_empty(), "{name}: {reports:?} {problem:?}");
        } else if problem.is_none() {
            // Cut short, or odd and yet a report: nothing that could be mistaken for an end.
            assert!(reports.len() <= 1, "{name}: {reports:?}");
        }
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_reports_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
        hear(&[&bytes]);
        // With a length that fits, so that the text is looked at.
        let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        hear(&[&framed]);
    }

    #[test]
    fn altered_seeds_are_reports_or_an_error(
        which in vec(any::<Index>(), 1..4),
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
        cut in any::<Index>(),
    ) {
        let seeds = seeds();
        let mut bytes: Vec<u8> = which.iter().flat_map(|index| index.get(&seeds).1.clone()).collect();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        hear(&[&bytes]);
    }

    #[test]
    fn how_the_bytes_are_cut_changes_nothing(
        which in vec(any::<Index>(), 1..5),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let seeds = seeds();
        let bytes: Vec<u8> = which.iter().flat_map(|index| index.get(&seeds).1.clone()).collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(hear(&pieces), hear(&[&bytes]));
    }

    #[test]
    fn what_the_driver_says_is_understood(message in any::<String>(), name in any::<String>(), n in any::<u64>()) {
        let said = serde_json::json!({
            "type": "error", "id": name, "n": n, "name": name, "message": message, "traceback": message,
        });
        let mut arrived = BytesMut::from(&frame(&said.to_string())[..]);
        let decoded = decode(&mut arrived).expect("ours").expect("whole");
        prop_assert!(decoded.cost >= message.len());
        match decoded.report {
            Report::Error { message: heard, n: number, .. } => prop_assert_eq!((heard, number), (message, n)),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
