//! The user's package-index settings: read from pip's configuration files and
//! environment, said again to `pip` and in `uv`'s words. `uv` reads neither of
//! pip's. Everything else that pip or uv can be told (targets, constraints, user
//! installs) is left out: an image is built one way only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::redact::Redactor;

/// The options of pip that say where packages come from and how to get there.
const PIP_OPTIONS: [&str; 16] = [
    "index-url",
    "extra-index-url",
    "no-index",
    "find-links",
    "cert",
    "client-cert",
    "proxy",
    "trusted-host",
    "timeout",
    "default-timeout",
    "retries",
    "keyring-provider",
    "cache-dir",
    "no-cache-dir",
    "use-feature",
    "use-deprecated",
];

/// The variables of uv that say the same; they win over what is translated.
const UV_VARIABLES: [&str; 10] = [
    "UV_CACHE_DIR",
    "UV_CONFIG_FILE",
    "UV_CREDENTIALS_DIR",
    "UV_FIND_LINKS",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_LINK_MODE",
    "UV_NATIVE_TLS",
    "UV_OFFLINE",
    "UV_SYSTEM_CERTS",
];

/// Prefixes of more of them, such as `UV_INDEX_NAME_PASSWORD`.
const UV_PREFIXES: [&str; 6] =
    ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX", "UV_HTTP_", "UV_CONCURRENT_", "UV_REQUEST_"];

/// A child process's share of the settings.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ToolSettings {
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) arguments: Vec<OsString>,
}

/// Where packages come from, by pip's option names.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexSettings {
    pip: BTreeMap<String, String>,
    uv: Vec<(String, OsString)>,
    uv_configures_indexes: bool,
    environment_has: BTreeMap<&'static str, String>,
    system_certificates: bool,
}

impl IndexSettings {
    /// Reads the settings that apply to a Python with this prefix.
    pub(super) fn read(environment: Environment<'_>, prefix: &Path) -> Self {
        Self::from_files(environment, &pip_files(environment, prefix), &uv_files(environment))
    }

    fn from_files(environment: Environment<'_>, pip_files: &[PathBuf], uv_files: &[PathBuf]) -> Self {
        let mut pip = BTreeMap::new();
        for file in pip_files {
            // A file that is not there says nothing; pip holds it the same way.
            pip.extend(parse_pip_file(&std::fs::read_to_string(file).unwrap_or_default()));
        }
        for (name, value) in environment.with_prefix("PIP_") {
            let option = name.trim_start_matches("PIP_").to_lowercase().replace('_', "-");
            if let Some(value) = value.to_str().filter(|value| !value.is_empty()) {
                pip.insert(option, value.to_owned());
            }
        }
        pip.retain(|option, _| PIP_OPTIONS.contains(&option.as_str()));
        drop_missing_links(&mut pip);

        let carried =
            |name: &str| UV_VARIABLES.contains(&name) || UV_PREFIXES.iter().any(|p| name.starts_with(p));
        let uv = environment
            .with_prefix("UV_")
            .filter(|(name, value)| carried(name) && !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let native = [
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "SSL_CLIENT_CERT",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ];
        Self {
            pip,
            uv,
            uv_configures_indexes: uv_files.iter().any(|file| configures_indexes(file)),
            environment_has: native
                .into_iter()
                .filter_map(|name| Some((name, environment.text(name)?.to_owned())))
                .collect(),
            system_certificates: SYSTEM_STORES.iter().any(|store| Path::new(store).exists()),
        }
    }

    /// Returns what hides the credentials that these settings carry.
    pub(super) fn redactor(&self) -> Redactor {
        let uv = self.uv.iter().filter_map(|(_, value)| value.to_str());
        let passwords = self
            .uv
            .iter()
            .filter(|(name, _)| name.ends_with("_PASSWORD"))
            .filter_map(|(_, value)| value.to_str())
            .map(|password| format!("{password}@"))
            .collect::<Vec<_>>();
        Redactor::new(
            self.pip
                .values()
                .chain(self.environment_has.values())
                .map(String::as_str)
                .chain(uv)
                .chain(passwords.iter().map(String::as_str)),
        )
    }

    /// Returns the settings in pip's own words. Its files are switched off, so that
    /// options such as `user` or `target` in them cannot lead an install astray.
    pub(super) fn for_pip(&self) -> ToolSettings {
        let mut variables: Vec<(OsString, OsString)> = self
            .pip
            .iter()
            .map(|(option, value)| {
                let name = format!("PIP_{}", option.replace('-', "_").to_uppercase());
                (name.into(), value.into())
            })
            .collect();
        variables.extend(pairs(&[
            ("PIP_CONFIG_FILE", "/dev/null"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_COLOR", "1"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_PROGRESS_BAR", "off"),
            ("PIP_ROOT_USER_ACTION", "ignore"),
        ]));
        ToolSettings { variables, arguments: Vec::new() }
    }

    /// Returns the settings in uv's words; what uv was told itself wins.
    pub(super) fn for_uv(&self) -> ToolSettings {
        let mut tool = ToolSettings {
            variables: self.uv.iter().map(|(name, value)| (name.into(), value.clone())).collect(),
            arguments: Vec::new(),
        };
        let told = |names: &[&str]| self.uv.iter().any(|(name, _)| names.contains(&name.as_str()));
        let pip = |option: &str| self.pip.get(option).map(String::as_str);
        let mut set = |name: &str, value: String| tool.variables.push((name.into(), value.into()));

        if !self.uv_configures_indexes {
            if let Some(url) = pip("index-url")
                && !told(&["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
            {
                set("UV_DEFAULT_INDEX", url.to_owned());
            }
            if let Some(urls) = pip("extra-index-url")
                && !told(&["UV_INDEX", "UV_EXTRA_INDEX_URL"])
            {
                set("UV_INDEX", words(urls).join(" "));
                // pip takes the best of all indexes; the lock's hashes make that safe.
                if !told(&["UV_INDEX_STRATEGY"]) {
                    set("UV_INDEX_STRATEGY", "unsafe-best-match".to_owned());
                }
            }
            if let Some(links) = pip("find-links")
                && !told(&["UV_FIND_LINKS"])
            {
                set("UV_FIND_LINKS", words(links).join(","));
            }
            if pip("no-index").is_some_and(is_true) {
                tool.arguments.push("--no-index".into());
            }
        }
        for (option, name) in [
            ("timeout", "UV_HTTP_TIMEOUT"),
            ("default-timeout", "UV_HTTP_TIMEOUT"),
            ("retries", "UV_HTTP_RETRIES"),
        ] {
            if let Some(value) = pip(option)
                && !told(&[name, "UV_REQUEST_TIMEOUT"])
            {
                tool.variables.push((name.into(), value.into()));
            }
        }
        if let Some(hosts) = pip("trusted-host")
            && !told(&["UV_INSECURE_HOST"])
        {
            tool.variables.push(("UV_INSECURE_HOST".into(), words(hosts).join(" ").into()));
        }
        if pip("keyring-provider") == Some("subprocess") && !told(&["UV_KEYRING_PROVIDER"]) {
            tool.variables.push(("UV_KEYRING_PROVIDER".into(), "subprocess".into()));
        }
        tool.variables.extend(self.certificates());
        tool.variables.extend(self.proxies());
        tool.variables.extend(pairs(&[
            ("UV_NO_PROGRESS", "1"),
            ("UV_PYTHON_DOWNLOADS", "never"),
            ("NO_COLOR", "1"),
        ]));
        tool
    }

    /// Returns uv's variables for certificates.
    fn certificates(&self) -> Vec<(OsString, OsString)> {
        let mut variables = Vec::new();
        let has = |name: &str| self.environment_has.contains_key(name);
        let bundle = self
            .pip
            .get("cert")
            .or_else(|| self.environment_has.get("REQUESTS_CA_BUNDLE"))
            .or_else(|| self.environment_has.get("CURL_CA_BUNDLE"));
        let told = self.uv.iter().any(|(name, _)| name == "UV_SYSTEM_CERTS" || name == "UV_NATIVE_TLS");
        let own_store = has("SSL_CERT_FILE") || has("SSL_CERT_DIR");
        match bundle {
            Some(path) if !own_store => {
                let name = if Path::new(path).is_dir() { "SSL_CERT_DIR" } else { "SSL_CERT_FILE" };
                variables.push((name.into(), path.into()));
            }
            // uv brings Mozilla's roots; a company's own root stands in the system's store.
            None if !own_store && self.system_certificates && !told => {
                variables.push(("UV_SYSTEM_CERTS".into(), "1".into()));
            }
            _ => {}
        }
        if let Some(path) = self.pip.get("client-cert")
            && !has("SSL_CLIENT_CERT")
        {
            variables.push(("SSL_CLIENT_CERT".into(), path.into()));
        }
        variables
    }

    /// Returns uv's variables for pip's proxy, which pip prefers to the environment's.
    fn proxies(&self) -> Vec<(OsString, OsString)> {
        let Some(proxy) = self.pip.get("proxy") else { return Vec::new() };
        let proxy = if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") };
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]
            .map(|name| (name.into(), proxy.clone().into()))
            .to_vec()
    }
}

/// Where distributions keep the system's certificates, in one file or many.
const SYSTEM_STORES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns pip's configuration files, the strongest last (pip, *Configuration*).
fn pip_files(environment: Environment<'_>, prefix: &Path) -> Vec<PathBuf> {
    let named = environment.get("PIP_CONFIG_FILE").map(PathBuf::from);
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let home = environment.directory("HOME");
    let mut files: Vec<PathBuf> =
        system_directories(environment).into_iter().map(|directory| directory.join("pip/pip.conf")).collect();
    files.push("/etc/pip.conf".into());
    files.extend(home.as_ref().map(|home| home.join(".pip/pip.conf")));
    files.extend(user_directory(environment).map(|directory| directory.join("pip/pip.conf")));
    files.push(prefix.join("pip.conf"));
    files.extend(named);
    files
}

/// Returns uv's configuration files.
fn uv_files(environment: Environment<'_>) -> Vec<PathBuf> {
    if let Some(file) = environment.get("UV_CONFIG_FILE") {
        return vec![file.into()];
    }
    let mut files: Vec<PathBuf> = system_directories(environment)
        .into_iter()
        .chain([PathBuf::from("/etc")])
        .chain(user_directory(environment))
        .map(|directory| directory.join("uv/uv.toml"))
        .collect();
    files.dedup();
    files
}

fn system_directories(environment: Environment<'_>) -> Vec<PathBuf> {
    let list = environment.text("XDG_CONFIG_DIRS").unwrap_or("/etc/xdg");
    list.split(':').filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
}

fn user_directory(environment: Environment<'_>) -> Option<PathBuf> {
    environment.directory("XDG_CONFIG_HOME").or_else(|| Some(environment.directory("HOME")?.join(".config")))
}

/// Returns whether a `uv.toml` names indexes of its own, which then are the user's will for uv.
fn configures_indexes(file: &Path) -> bool {
    const KEYS: [&str; 5] = ["index", "index-url", "extra-index-url", "find-links", "no-index"];
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        let key = line.trim().trim_start_matches('[').split(['=', ']', ' ']).next().unwrap_or("");
        KEYS.contains(&key)
    })
}

/// Returns the options of the sections `global` and `install`; the latter wins.
/// The syntax is that of Python's `RawConfigParser`.
fn parse_pip_file(text: &str) -> BTreeMap<String, String> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = String::new();
    let mut option: Option<String> = None;
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let options = sections.entry(section.clone()).or_default();
        if line.starts_with([' ', '\t'])
            && let Some(value) = option.as_ref().and_then(|option| options.get_mut(option))
        {
            value.push('\n');
            value.push_str(content);
        } else if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            option = None;
        } else if let Some(at) = content.find(['=', ':']) {
            let name = content[..at].trim().to_lowercase().replace('_', "-");
            options.insert(name.clone(), content[at + 1..].trim().to_owned());
            option = Some(name);
        }
    }
    let mut merged = sections.remove("global").unwrap_or_default();
    merged.extend(sections.remove("install").unwrap_or_default());
    merged.retain(|_, value| !value.is_empty());
    merged
}

/// Drops local `find-links` that do not exist: pip ignores them, uv would fail.
fn drop_missing_links(pip: &mut BTreeMap<String, String>) {
    let Some(links) = pip.remove("find-links") else { return };
    let there = |link: &&str| {
        let path = link.strip_prefix("file://").unwrap_or(link);
        path.contains("://") || Path::new(path).exists()
    };
    let kept: Vec<&str> = words(&links).into_iter().filter(there).collect();
    if !kept.is_empty() {
        pip.insert("find-links".to_owned(), kept.join(" "));
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Says whether pip would read this as true.
fn is_true(value: &str) -> bool {
    matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "on" | "y" | "t")
}

fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests;
