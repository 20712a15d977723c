//! Keeps the credentials of package indexes and proxies out of everything shown.

/// What is put in the place of credentials.
const MASK: &str = "****";

/// Removes credentials from text: those of any URL, and the known ones wherever they stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// Learns the credentials in these settings: index URLs, proxies, lists of them.
    pub(super) fn new<'a>(settings: impl IntoIterator<Item = &'a str>) -> Self {
        let mut secrets: Vec<String> = settings
            .into_iter()
            .flat_map(|setting| setting.split(|c: char| c.is_whitespace() || c == ','))
            .filter_map(user_info)
            .flat_map(|user_info| {
                let password = user_info.split_once(':').map(|(_, password)| password);
                // A user without a password is a token (`https://TOKEN@host/`).
                [Some(user_info), password].into_iter().flatten().map(str::to_owned)
            })
            .filter(|secret| secret.len() >= 4)
            .collect();
        // The longest first, or a part would be masked and the rest remain.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// Returns the text without credentials.
    pub(super) fn clean(&self, text: &str) -> String {
        let masked = text.split_inclusive(char::is_whitespace).map(mask_url).collect::<String>();
        self.secrets.iter().fold(masked, |text, secret| text.replace(secret, MASK))
    }
}

/// Returns the `user:password` of a URL, or of a proxy that is written without a scheme.
fn user_info(setting: &str) -> Option<&str> {
    let rest = setting.split_once("://").map_or(setting, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map(|(user_info, _)| user_info)
}

/// Masks the user information of one URL inside a word.
fn mask_url(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{before}://{MASK}{}", &rest[at..]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_disappear_in_every_form() {
        let redactor = Redactor::new([
            "https://bob:hunter22@mirror.example/simple https://TOKEN99@two.example/",
            "corp\\bob:pr0xypass@proxy.example:3128",
        ]);
        let text = "Looking in https://bob:hunter22@mirror.example/simple/x?y, \
                    (password hunter22) TOKEN99 via corp\\bob:pr0xypass@proxy.example";
        let clean = redactor.clean(text);
        for secret in ["hunter22", "TOKEN99", "pr0xypass"] {
            assert!(!clean.contains(secret), "{clean}");
        }
        assert!(clean.contains("https://****@mirror.example/simple/x?y"), "{clean}");
    }

    #[test]
    fn unknown_urls_lose_theirs_too() {
        let clean = Redactor::default().clean("GET http://a:b@c@host/p (http://host/@x)");
        assert_eq!(clean, "GET http://****@host/p (http://host/@x)");
    }
}
