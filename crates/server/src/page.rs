//! The page at `/`: one static file, with a content security policy that names its own blocks by
//! their hashes, so that nothing a model or a program says can become script.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// Put together by the compiler, so that what is served is one file.
const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/page.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>\n",
    include_str!("page/page.js"),
    "</script>\n</body>\n</html>\n",
);

static POLICY: LazyLock<String> = LazyLock::new(|| policy(PAGE));

pub(crate) async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("content-security-policy"), POLICY.as_str()),
    ];
    (headers, PAGE).into_response()
}

fn policy(page: &str) -> String {
    let scripts = sources(page, "script");
    let styles = sources(page, "style");
    format!(
        "default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data: blob:; \
         connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// Returns the hashes of all blocks of a kind (CSP level 3, §2.3.1).
fn sources(page: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let blocks = page.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
    let hashes: Vec<String> = blocks
        .map(|block| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(block.as_bytes()))))
        .collect();
    if hashes.is_empty() { "'none'".to_owned() } else { hashes.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_by_their_hashes() {
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64
        let hash = "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='";
        assert_eq!(sources("<script>alert(1)</script>", "script"), hash);
        assert_eq!(sources("<p>", "script"), "'none'");
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        assert!(PAGE.len() < 40_000, "the small page stays small");
        for inline in
            [" onclick=", " onload=", " onsubmit=", " style=\"", "javascript:", "http://", "https://"]
        {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("<script>").count());
        assert_eq!(PAGE.matches("<style").count(), PAGE.matches("<style>").count());
    }
}
