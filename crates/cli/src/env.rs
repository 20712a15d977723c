//! Every environment variable that `reckon` reads, declared here and nowhere else.
//! Libraries read none: what they need of the environment is handed to them from here.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

/// The variables beside those of the settings (`RECKON_<SECTION>_<KEY>`, see `config/settings.rs`).
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("RECKON_CONFIG", "The configuration file to read, like `--config`."),
    (
        "RECKON_LOG",
        "What is logged to stderr, as a filter such as `info` or `reckon_sandbox=debug`; otherwise `info` for the server and `warn` for all else.",
    ),
    ("HOME", "Below it are the directories of the two variables that follow when those are unset."),
    ("XDG_CONFIG_HOME", "Holds `reckon/reckon.toml`; `~/.config` otherwise."),
    (
        "XDG_DATA_HOME",
        "Holds `reckon/`, the sandboxes and sessions; `~/.local/share` otherwise, and `/var/lib` for root at home.",
    ),
    ("XDG_CACHE_HOME", "Holds `reckon/images/`; `~/.cache` otherwise."),
    ("OPENAI_BASE_URL", "An OpenAI-compatible model server, taken when the configuration names none."),
    ("OPENAI_API_KEY", "Its key; alone, it chooses OpenAI."),
    ("CLOUDFLARE_ACCOUNT_ID", "With `CLOUDFLARE_API_TOKEN` it chooses Workers AI."),
    ("CLOUDFLARE_API_TOKEN", "The token of that account."),
    ("OPENROUTER_API_KEY", "Chooses OpenRouter."),
    ("GROQ_API_KEY", "Chooses Groq."),
    (
        "HTTPS_PROXY",
        "The proxy to model servers beyond this machine; also `https_proxy`, `ALL_PROXY`, `all_proxy`.",
    ),
    ("https_proxy", "Like `HTTPS_PROXY`."),
    ("ALL_PROXY", "The proxy where `HTTPS_PROXY` is unset."),
    ("all_proxy", "Like `ALL_PROXY`."),
    ("NO_PROXY", "Hosts that are reached without the proxy; also `no_proxy`."),
    ("no_proxy", "Like `NO_PROXY`."),
    ("SSL_CERT_FILE", "Certificate authorities (PEM) to trust instead of the system's."),
    ("PIP_*, UV_*", "The package index and its access, while an image is built."),
    ("PATH", "Where Python, uv and systemd's tools are looked for."),
    ("NO_COLOR", "Set to anything but nothing, it turns colours off."),
    ("TERM", "The terminal's kind, by which inline images are chosen."),
    ("TERM_PROGRAM", "The terminal's name, by which inline images are chosen."),
    ("LC_TERMINAL", "The terminal's name where ssh hides `TERM_PROGRAM`."),
    ("KITTY_WINDOW_ID", "Set by kitty, which shows images inline."),
    ("TMUX", "Set by tmux, which swallows inline images."),
    ("STY", "Set by screen, which swallows inline images."),
];

/// Root's home on every usual system.
const ROOTS_HOME: &str = "/root";
/// Where root keeps sandboxes when nothing says otherwise.
const ROOTS_DATA: &str = "/var/lib/reckon";

/// The environment of the process, as it was at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Returns the environment of this process.
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns an environment of the given variables.
    #[cfg(test)]
    pub(crate) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Returns a variable's value; one set to nothing, or to something that is not UTF-8, counts as unset.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(OsStr::new(name)).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }

    /// Returns all variables, for libraries that look for several of them.
    pub(crate) fn all(&self) -> Vec<(OsString, OsString)> {
        self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Returns the variables that choose a model.
    pub(crate) fn of_models(&self) -> reckon_model::Environment {
        let value = |name| self.variable(name).map(str::to_owned);
        reckon_model::Environment {
            openai_base_url: value("OPENAI_BASE_URL"),
            openai_api_key: value("OPENAI_API_KEY"),
            cloudflare_account_id: value("CLOUDFLARE_ACCOUNT_ID"),
            cloudflare_api_token: value("CLOUDFLARE_API_TOKEN"),
            openrouter_api_key: value("OPENROUTER_API_KEY"),
            groq_api_key: value("GROQ_API_KEY"),
        }
    }

    /// Returns how model servers beyond this machine are reached.
    pub(crate) fn transport(&self) -> reckon_model::Transport {
        let first = |names: &[&str]| names.iter().find_map(|name| self.variable(name)).map(str::to_owned);
        reckon_model::Transport {
            ca_file: self.variable("SSL_CERT_FILE").map(PathBuf::from),
            proxy: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            no_proxy: first(&["NO_PROXY", "no_proxy"]),
            ..reckon_model::Transport::default()
        }
    }

    /// Returns the configuration file: the named one, or the first of the usual places that exists.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        if let Some(path) = self.variable("RECKON_CONFIG") {
            return Some(path.into());
        }
        let here = PathBuf::from("reckon.toml");
        let there = self.base("XDG_CONFIG_HOME", ".config").map(|base| base.join("reckon/reckon.toml"));
        [Some(here), there].into_iter().flatten().find(|path| path.is_file())
    }

    /// Returns where sandboxes and sessions are kept unless the configuration says otherwise.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        // Root's home is closed to the account that its server becomes.
        let is_at_home = self.variable("HOME").is_none_or(|home| home == ROOTS_HOME);
        if rustix::process::geteuid().is_root() && is_at_home && self.variable("XDG_DATA_HOME").is_none() {
            return Some(ROOTS_DATA.into());
        }
        self.base("XDG_DATA_HOME", ".local/share").map(|base| base.join("reckon"))
    }

    /// Returns where images are kept unless the configuration says otherwise.
    pub(crate) fn images_dir(&self) -> Option<PathBuf> {
        self.cache_dir().map(|cache| cache.join("images"))
    }

    /// Returns where installers and their downloads are kept.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        self.base("XDG_CACHE_HOME", ".cache").map(|base| base.join("reckon"))
    }

    fn base(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        // The XDG specification: relative values are invalid and to be ignored.
        let named = self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| Some(PathBuf::from(self.variable("HOME")?).join(below_home)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn directories_follow_xdg_and_else_home() {
        let plain = environment(&[("HOME", "/home/ada")]);
        assert_eq!(plain.data_dir(), Some("/home/ada/.local/share/reckon".into()));
        assert_eq!(plain.images_dir(), Some("/home/ada/.cache/reckon/images".into()));

        let named =
            environment(&[("HOME", "/home/ada"), ("XDG_DATA_HOME", "/data"), ("XDG_CACHE_HOME", "relative")]);
        assert_eq!(named.data_dir(), Some("/data/reckon".into()));
        assert_eq!(named.images_dir(), Some("/home/ada/.cache/reckon/images".into()));
        assert_eq!(environment(&[("XDG_DATA_HOME", "/data")]).data_dir(), Some("/data/reckon".into()));
        let is_root = rustix::process::geteuid().is_root();
        let below_home = PathBuf::from(ROOTS_HOME).join(".local/share/reckon");
        let expected = if is_root { ROOTS_DATA.into() } else { below_home };
        assert_eq!(environment(&[("HOME", ROOTS_HOME)]).data_dir(), Some(expected));
        assert_eq!(environment(&[]).data_dir(), is_root.then(|| ROOTS_DATA.into()));
    }
}
