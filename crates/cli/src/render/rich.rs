//! Displays and results for people: images are saved and shown inline where the terminal can,
//! everything else is shown by its plain text.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reckon_protocol::MimeBundle;

/// What to do with a bundle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Save these bytes under a name with this extension.
    Image {
        /// The bytes of the file.
        bytes: Vec<u8>,
        /// `png`, `jpg`, `svg`.
        extension: &'static str,
        /// The base64 of a PNG, for terminals that show one.
        png: Option<String>,
    },
    /// Print this.
    Text(String),
    /// There is nothing that people can read.
    Nothing,
}

/// Image types in the order in which they are preferred, with their extensions.
const IMAGES: [(&str, &str); 4] =
    [("image/png", "png"), ("image/jpeg", "jpg"), ("image/gif", "gif"), ("image/webp", "webp")];

/// Text types in the order in which a terminal shows them best.
const TEXTS: [&str; 4] = ["text/plain", "text/markdown", "text/latex", "text/html"];

/// Decides how a bundle is shown.
pub(crate) fn shown(data: &MimeBundle) -> Shown {
    image(data).or_else(|| drawing(data)).or_else(|| text(data)).unwrap_or(Shown::Nothing)
}

fn image(data: &MimeBundle) -> Option<Shown> {
    IMAGES.iter().find_map(|(mime, extension)| {
        // Python's encoders break lines; terminals and strict decoders want none.
        let base64: String = data.get(*mime)?.as_str()?.split_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(&base64).ok()?;
        Some(Shown::Image { bytes, extension, png: (*extension == "png").then_some(base64) })
    })
}

fn drawing(data: &MimeBundle) -> Option<Shown> {
    let svg = data.get("image/svg+xml")?.as_str()?;
    Some(Shown::Image { bytes: svg.as_bytes().to_vec(), extension: "svg", png: None })
}

fn text(data: &MimeBundle) -> Option<Shown> {
    let of_type = |mime: &&str| data.get(*mime)?.as_str().map(str::to_owned);
    let json = || data.get("application/json").map(ToString::to_string);
    TEXTS.iter().find_map(of_type).or_else(json).map(Shown::Text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundle(pairs: &[(&str, serde_json::Value)]) -> MimeBundle {
        pairs.iter().map(|(mime, value)| ((*mime).to_owned(), value.clone())).collect()
    }

    #[test]
    fn an_image_wins_over_its_plain_text() {
        let data = bundle(&[("text/plain", json!("<Figure>")), ("image/png", json!("iVBO\nRw==\n"))]);
        let Shown::Image { bytes, extension, png } = shown(&data) else { panic!("an image") };
        assert_eq!((bytes.as_slice(), extension, png.as_deref()), (&b"\x89PNG"[..], "png", Some("iVBORw==")));
    }

    #[test]
    fn broken_base64_falls_back_to_the_text() {
        let data = bundle(&[("text/plain", json!("<Figure>")), ("image/png", json!("%%%"))]);
        assert_eq!(shown(&data), Shown::Text("<Figure>".into()));
    }

    #[test]
    fn plain_text_wins_over_html_and_json_is_last() {
        let table = bundle(&[("text/html", json!("<table>")), ("text/plain", json!("a  b"))]);
        assert_eq!(shown(&table), Shown::Text("a  b".into()));
        assert_eq!(shown(&bundle(&[("application/json", json!({"a": 1}))])), Shown::Text("{\"a\":1}".into()));
        assert_eq!(shown(&bundle(&[("application/x-unknown", json!("?"))])), Shown::Nothing);
    }
}
