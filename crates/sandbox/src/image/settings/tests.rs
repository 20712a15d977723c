//! The translation of the user's package-index settings.

use super::*;

struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Home {
    /// A home whose environment holds nothing but what is given.
    fn new(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut variables = pairs(variables);
        variables.push(("HOME".into(), directory.path().into()));
        Self { directory, variables }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self) -> IndexSettings {
        let environment = Environment(&self.variables);
        // The files of this machine take no part.
        let ours = |files: Vec<PathBuf>| {
            files.into_iter().filter(|file| !file.starts_with("/etc")).collect::<Vec<_>>()
        };
        let pip = ours(pip_files(environment, Path::new("/nonexistent")));
        IndexSettings::from_files(environment, &pip, &ours(uv_files(environment)))
    }
}

fn value<'a>(tool: &'a ToolSettings, name: &str) -> Option<&'a str> {
    tool.variables.iter().rev().find(|(key, _)| key == name).and_then(|(_, value)| value.to_str())
}

#[test]
fn indexes_are_said_in_uv_words() {
    let home = Home::new(&[
        ("PIP_INDEX_URL", "https://u:secret@one.example/simple"),
        ("PIP_EXTRA_INDEX_URL", "https://two.example/simple\n  https://three.example/simple"),
        ("PIP_FIND_LINKS", "/nonexistent/wheels https://four.example/links /"),
        ("PIP_TRUSTED_HOST", "one.example two.example:8443"),
        ("PIP_DEFAULT_TIMEOUT", "180"),
        ("PIP_RETRIES", "2"),
        ("PIP_NO_INDEX", "0"),
    ]);
    let settings = home.read();
    let uv = settings.for_uv();
    assert_eq!(value(&uv, "UV_DEFAULT_INDEX"), Some("https://u:secret@one.example/simple"));
    let extra = "https://two.example/simple https://three.example/simple";
    assert_eq!(value(&uv, "UV_INDEX"), Some(extra));
    assert_eq!(value(&uv, "UV_INDEX_STRATEGY"), Some("unsafe-best-match"));
    assert_eq!(value(&uv, "UV_FIND_LINKS"), Some("https://four.example/links,/"));
    assert_eq!(value(&uv, "UV_INSECURE_HOST"), Some("one.example two.example:8443"));
    assert_eq!(value(&uv, "UV_HTTP_TIMEOUT"), Some("180"));
    assert_eq!(value(&uv, "UV_HTTP_RETRIES"), Some("2"));
    assert!(uv.arguments.is_empty());
    assert!(!settings.redactor().clean("password secret").contains("secret"));
}

#[test]
fn certificates_and_proxies_reach_uv() {
    let home = Home::new(&[
        ("PIP_CERT", "/certs/company.pem"),
        ("PIP_CLIENT_CERT", "/certs/me.pem"),
        ("PIP_PROXY", "me:pass@proxy.example:3128"),
    ]);
    let uv = home.read().for_uv();
    assert_eq!(value(&uv, "SSL_CERT_FILE"), Some("/certs/company.pem"));
    assert_eq!(value(&uv, "SSL_CLIENT_CERT"), Some("/certs/me.pem"));
    assert_eq!(value(&uv, "HTTPS_PROXY"), Some("http://me:pass@proxy.example:3128"));
    assert_eq!(value(&uv, "UV_SYSTEM_CERTS"), None);

    let home = Home::new(&[("REQUESTS_CA_BUNDLE", "/")]);
    assert_eq!(value(&home.read().for_uv(), "SSL_CERT_DIR"), Some("/"));

    // A certificate file that uv reads by itself is left to it.
    let home = Home::new(&[("PIP_CERT", "/a.pem"), ("SSL_CERT_FILE", "/b.pem")]);
    assert_eq!(value(&home.read().for_uv(), "SSL_CERT_FILE"), None);
}

#[test]
fn what_uv_was_told_wins() {
    let home = Home::new(&[
        ("PIP_INDEX_URL", "https://pip.example/simple"),
        ("PIP_NO_INDEX", "true"),
        ("UV_INDEX_URL", "https://uv.example/simple"),
        ("UV_INDEX_MINE_PASSWORD", "hunter22"),
        ("UV_TARGET", "/elsewhere"),
        ("UV_EXCLUDE_NEWER", "2020-01-01"),
    ]);
    let settings = home.read();
    let uv = settings.for_uv();
    assert_eq!(value(&uv, "UV_DEFAULT_INDEX"), None);
    assert_eq!(value(&uv, "UV_INDEX_URL"), Some("https://uv.example/simple"));
    assert_eq!(value(&uv, "UV_TARGET"), None);
    assert_eq!(value(&uv, "UV_EXCLUDE_NEWER"), None);
    assert_eq!(uv.arguments, ["--no-index"]);
    assert!(!settings.redactor().clean("hunter22").contains("hunter22"));

    let home = Home::new(&[("PIP_INDEX_URL", "https://pip.example/simple")]);
    home.write(".config/uv/uv.toml", "[[index]]\nurl = \"https://uv.example/simple\"\n");
    assert_eq!(value(&home.read().for_uv(), "UV_DEFAULT_INDEX"), None);
}

#[test]
fn files_are_read_as_pip_reads_them() {
    let home = Home::new(&[("PIP_TIMEOUT", "7")]);
    home.write(
        ".config/pip/pip.conf",
        "# mine\n[global]\nindex_url = https://global.example/simple\ntimeout = 60\nuser = yes\n\
         [install]\nindex-url: https://install.example/simple\n\
         extra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n\
         [freeze]\ntimeout = 1\n",
    );
    let pip = home.read().for_pip();
    assert_eq!(value(&pip, "PIP_INDEX_URL"), Some("https://install.example/simple"));
    let extra = value(&pip, "PIP_EXTRA_INDEX_URL").unwrap();
    assert_eq!(words(extra), ["https://a.example/simple", "https://b.example/simple"]);
    assert_eq!(value(&pip, "PIP_TIMEOUT"), Some("7"));
    assert_eq!(value(&pip, "PIP_USER"), None);
    assert_eq!(value(&pip, "PIP_CONFIG_FILE"), Some("/dev/null"));
}

#[test]
fn a_named_file_wins_and_dev_null_silences_all() {
    let mut home = Home::new(&[]);
    home.write(".config/pip/pip.conf", "[global]\nindex-url = https://user.example/simple\n");
    home.write("named.conf", "[global]\nindex-url = https://named.example/simple\n");
    let named = home.directory.path().join("named.conf");
    home.variables.push(("PIP_CONFIG_FILE".into(), named.into()));
    let pip = home.read().for_pip();
    assert_eq!(value(&pip, "PIP_INDEX_URL"), Some("https://named.example/simple"));

    home.variables.push(("PIP_CONFIG_FILE".into(), "/dev/null".into()));
    assert_eq!(value(&home.read().for_pip(), "PIP_INDEX_URL"), None);
}
