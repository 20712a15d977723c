//! The one table of settings: the types, their documentation and their defaults. The
//! configuration file, its reference and `reckon config show` are all made from it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use reckon_model::{Effort, Provider};
use reckon_protocol::{Limits, Preset};
use reckon_sandbox::{Heap, Isolation, PoolSize};
use toml::Value;

use super::kinds::{Bytes, Period, SettingKind};

/// A section of the configuration.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name in the file.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) doc: &'static str,
}

/// A setting, apart from its value.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Section and key, `model.name`.
    pub(crate) path: &'static str,
    /// Its section.
    pub(crate) section: &'static str,
    /// Its key in the section.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) doc: &'static str,
    /// The kind of its value, for people.
    pub(crate) kind: &'static str,
    /// A value in TOML, shown where there is no default.
    pub(crate) example: &'static str,
    /// Whether its value is never shown.
    pub(crate) secret: bool,
    /// Its default, if it has one.
    pub(crate) default: fn() -> Option<Value>,
    /// Checks a value of the file.
    pub(crate) check: fn(&Value) -> Result<(), String>,
    /// Reads a value of the environment.
    pub(crate) from_text: fn(&str) -> Result<Value, String>,
}

impl Setting {
    /// Returns the environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("RECKON_{}_{}", self.section, self.key).to_ascii_uppercase()
    }

    /// Returns its default in TOML.
    pub(crate) fn default_text(&self) -> Option<String> {
        (self.default)().map(|value| value.to_string())
    }
}

/// Returns the setting at a path.
pub(crate) fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

macro_rules! settings {
    ($(
        #[doc = $section_doc:literal]
        $section:ident: $kind:ident {
            $( $(#[doc = $doc:literal])+ $([$secret:ident])? $key:ident: $type:ty = $default:expr, $example:literal; )+
        }
    )+) => {
        $(
            #[doc = $section_doc]
            #[derive(Debug, Clone)]
            pub(crate) struct $kind { $( $(#[doc = $doc])+ pub(crate) $key: $type, )+ }
        )+

        /// All settings as values.
        #[derive(Debug, Clone)]
        pub(crate) struct Config { $( #[doc = $section_doc] pub(crate) $section: $kind, )+ }

        /// The sections in their order.
        pub(crate) const SECTIONS: &[Section] =
            &[$( Section { name: stringify!($section), doc: $section_doc } ),+];

        /// The settings in their order.
        pub(crate) const SETTINGS: &[Setting] = &[$($( Setting {
            path: concat!(stringify!($section), ".", stringify!($key)),
            section: stringify!($section),
            key: stringify!($key),
            doc: concat!($($doc, "\n"),+),
            kind: <$type as SettingKind>::NAME,
            example: $example,
            secret: settings!(@secret $($secret)?),
            default: || { let default: $type = $default; default.write() },
            check: |value| <$type as SettingKind>::read(value).map(drop),
            from_text: <$type as SettingKind>::from_text,
        } ),+),+];

        impl Config {
            /// Makes the configuration of values by path. The error is the path and what is wrong.
            pub(crate) fn read<'a>(
                find: &dyn Fn(&str) -> Option<&'a Value>,
            ) -> Result<Self, (&'static str, String)> {
                Ok(Self { $( $section: $kind { $(
                    $key: match find(concat!(stringify!($section), ".", stringify!($key))) {
                        Some(value) => <$type as SettingKind>::read(value)
                            .map_err(|why| (concat!(stringify!($section), ".", stringify!($key)), why))?,
                        None => $default,
                    },
                )+ }, )+ })
            }
        }
    };
    (@secret) => { false };
    (@secret secret) => { true };
}

settings! {
    /// Which language model answers, and how it is asked.
    model: ModelSettings {
        /// The model, by the name that its server knows. `demo` is the demo planner, which is not a language model.
        /// Unset, `reckon` looks for one: in the environment, then on the well-known local ports.
        name: Option<String> = None, "\"gpt-oss:20b\"";
        /// Who serves it. Unset, the URL tells.
        provider: Option<Provider> = None, "\"ollama\"";
        /// Base URL of an OpenAI-compatible server, usually ending in /v1.
        base_url: Option<String> = None, "\"http://127.0.0.1:11434/v1\"";
        /// The key of that server. Better kept in the environment than in a file.
        [secret] api_key: Option<String> = None, "\"…\"";
        /// Refuse any model to which prompts would leave this machine.
        local: bool = false, "false";
        /// Calls of the tool in one turn; then the model is asked once more, without the tool.
        max_steps: u32 = 5, "5";
        /// Wall time of a turn, after which the model has to answer without the tool.
        turn_time: Period = Period(Duration::from_secs(300)), "\"5m\"";
        /// The most tokens that the model may write in one step, reasoning included.
        max_tokens: u32 = 8192, "8192";
        /// The context size in tokens, where the server does not tell or tells wrong.
        context_tokens: Option<u32> = None, "64000";
        /// Whether the model sees images, where its name does not tell.
        sees_images: Option<bool> = None, "false";
        /// How long the server may be silent; local servers load their model in this time.
        patience: Period = Period(Duration::from_secs(300)), "\"5m\"";
        /// The sampling temperature. Unset, the model's server decides.
        temperature: Option<f32> = None, "0.2";
        /// How long the model thinks first: `low`, `medium` or `high`. Unset, the model's server decides.
        reasoning_effort: Option<Effort> = None, "\"low\"";
    }
    /// The Python environment in which code runs.
    image: ImageSettings {
        /// Where images are kept. Unset: `$XDG_CACHE_HOME/reckon/images` (`~/.cache/reckon/images`).
        dir: Option<PathBuf> = None, "\"/var/cache/reckon/images\"";
        /// The Python 3.11 or later from which the image is built. Unset: the host's, Debian's first.
        python: Option<PathBuf> = None, "\"/usr/bin/python3\"";
    }
    /// The walls and the limits of sandboxes.
    sandbox: SandboxSettings {
        /// `room`: namespaces, cgroup, landlock and seccomp. `process`: landlock, seccomp and rlimits only, a weaker tier that is announced on every start.
        isolation: Isolation = Isolation::Room, "\"room\"";
        /// Where sandboxes and sessions are kept. Unset: `$XDG_DATA_HOME/reckon` (`~/.local/share/reckon`).
        data: Option<PathBuf> = None, "\"/var/lib/reckon\"";
        /// A named size, which sets memory, processor and disk where nothing else does: `lite`, `basic`, `standard-1` to `standard-4`.
        preset: Option<Preset> = None, "\"basic\"";
        /// Memory of all processes of a sandbox together.
        memory: Bytes = Bytes(Limits::default().memory_bytes), "\"1g\"";
        /// Processes and threads of a sandbox together.
        pids: u32 = Limits::default().pids, "256";
        /// CPU in thousandths of a core; 0 for no limit.
        cpu_millis: u32 = Limits::default().cpu_millis, "0";
        /// Processor time of one execution, of all processes together. Unset: no limit.
        cpu_time: Option<Period> = None, "\"1m\"";
        /// Wall time of one execution.
        timeout: Period = Period(Duration::from_millis(Limits::default().timeout_ms)), "\"2m\"";
        /// Open files of each process.
        open_files: u64 = Limits::default().open_files, "4096";
        /// Size of one file.
        file_size: Bytes = Bytes(Limits::default().file_bytes), "\"1g\"";
        /// What a workspace may take on disk. Started as root, the kernel holds it; else workspaces are measured while code runs.
        disk_size: Bytes = Bytes(Limits::default().disk_bytes), "\"4g\"";
        /// Files and directories of a workspace.
        disk_files: u64 = Limits::default().disk_inodes, "1000000";
        /// Size of the disk of all workspaces together, one sparse file in the data directory, where the server is root. It grows and never shrinks. Unset: four fifths of what is free.
        disk_total: Option<Bytes> = None, "\"200g\"";
        /// Size of `/tmp` in a sandbox; it is memory.
        tmp_size: Bytes = Bytes(Limits::default().tmp_bytes), "\"256m\"";
        /// Files and directories of `/tmp` in a sandbox.
        tmp_files: u64 = Limits::default().tmp_inodes, "100000";
        /// Stdout and stderr kept of one execution; what is beyond is counted and cut.
        output: Bytes = Bytes(Limits::default().output_bytes), "\"8m\"";
        /// `sealed`: contexts are forked from memory in a sealed file, which takes less time and memory. `plain`: an ordinary fork, which is also what is done where sealing is impossible.
        heap: Heap = Heap::Sealed, "\"sealed\"";
        /// The process from which contexts are forked is replaced when it is older than this, since its children share an address layout and the secret of Python's hashes. Sandboxes go on; each generation holds some 80 MB while one of its contexts lives.
        zygote_age: Period = Period(Duration::from_secs(6 * 3600)), "\"6h\"";
        /// Sandboxes with a warm context that a server keeps ready. `reckon ask` and `reckon exec` keep one.
        pool: usize = 2, "2";
        /// The most of them: under demand the pool grows up to this, and shrinks when demand has gone.
        pool_max: usize = 32, "32";
        /// Rooms without a context that a server keeps ready beside them, for when the pool is empty; under demand as many as `pool_max`.
        pool_rooms: usize = 4, "4";
        /// Sandboxes that may live at once.
        max_sandboxes: usize = 256, "256";
    }
    /// What `reckon serve` listens to and whom it serves.
    server: ServerSettings {
        /// Address and port; port 0 takes a free one. Beyond loopback a key is required.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8787)), "\"127.0.0.1:8787\"";
        /// The key that callers send as `Authorization: Bearer …`. Better kept in the environment than in a file that others read.
        [secret] key: Option<String> = None, "\"…\"";
        /// A file that holds the key, so that it stands in no configuration and no environment.
        key_file: Option<PathBuf> = None, "\"/etc/reckon/key\"";
        /// More keys, each by its SHA-256 in hexadecimal digits (`printf %s KEY | sha256sum`).
        key_hashes: Vec<String> = Vec::new(), "[]";
        /// Names under which browsers may address the server, beside `localhost` and IP addresses.
        allowed_hosts: Vec<String> = Vec::new(), "[\"reckon.example.org\"]";
        /// Sessions that may live at once.
        max_sessions: usize = 64, "64";
        /// A session ends this long after its last use.
        session_idle: Period = Period(Duration::from_secs(600)), "\"10m\"";
        /// The largest JSON body.
        body_limit: Bytes = Bytes(1 << 20), "\"1m\"";
        /// The largest uploaded file.
        upload_limit: Bytes = Bytes(100 << 20), "\"100m\"";
        /// How long running requests may take to finish when the server is asked to stop.
        drain: Period = Period(Duration::from_secs(10)), "\"10s\"";
    }
}

impl SandboxSettings {
    /// Returns what a server makes ahead of demand.
    pub(crate) fn pool_size(&self) -> PoolSize {
        PoolSize { floor: self.pool, ceiling: self.pool_max, rooms: self.pool_rooms }
    }

    /// Returns the limits as the engine takes them; their ranges are checked by the caller.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory.0,
            pids: self.pids,
            cpu_millis: self.cpu_millis,
            cpu_ms: self.cpu_time.map_or(0, Period::millis),
            timeout_ms: self.timeout.millis(),
            open_files: self.open_files,
            file_bytes: self.file_size.0,
            disk_bytes: self.disk_size.0,
            disk_inodes: self.disk_files,
            tmp_bytes: self.tmp_size.0,
            tmp_inodes: self.tmp_files,
            output_bytes: self.output.0,
            contexts: Limits::default().contexts,
        }
    }
}

/// Kinds that are one of a few words.
macro_rules! one_word_of {
    ($kind:ty, $name:literal, $($word:literal => $value:expr),+) => {
        impl SettingKind for $kind {
            const NAME: &'static str = $name;

            fn read(value: &Value) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok($value),)+
                    _ => Err(format!("expected {}, found {value}", Self::NAME)),
                }
            }

            fn write(&self) -> Option<Value> {
                let words = [$(($word, $value)),+];
                let word = words.iter().find(|(_, value)| value == self)?.0;
                Some(Value::String(word.to_owned()))
            }

            fn from_text(text: &str) -> Result<Value, String> {
                let value = Value::String(text.to_owned());
                Self::read(&value).map(|_| value)
            }
        }
    };
}

one_word_of!(Isolation, "`room` or `process`", "room" => Isolation::Room, "process" => Isolation::Process);
one_word_of!(Heap, "`sealed` or `plain`", "sealed" => Heap::Sealed, "plain" => Heap::Plain);
one_word_of!(Effort, "`low`, `medium` or `high`", "low" => Effort::Low, "medium" => Effort::Medium, "high" => Effort::High);

impl SettingKind for Preset {
    const NAME: &'static str = "name of a preset";

    fn read(value: &Value) -> Result<Self, String> {
        let name = value.as_str().ok_or_else(|| format!("expected {}, found {value}", Self::NAME))?;
        name.parse().map_err(|error: reckon_protocol::ParsePresetError| error.to_string())
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.as_str().to_owned()))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        let value = Value::String(text.to_owned());
        Self::read(&value).map(|_| value)
    }
}

impl SettingKind for Provider {
    const NAME: &'static str = "name of a provider";

    fn read(value: &Value) -> Result<Self, String> {
        let named = |word: &str| Self::ALL.into_iter().find(|provider| provider.as_str() == word);
        value.as_str().and_then(named).ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|provider| provider.as_str()).collect();
            format!("expected one of {}, found {value}", words.join(", "))
        })
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.as_str().to_owned()))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        let value = Value::String(text.to_owned());
        Self::read(&value).map(|_| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_defaults_are_of_their_kind() {
        for setting in SETTINGS {
            let text = format!("value = {}", setting.example);
            let table: toml::Table = toml::from_str(&text).expect("examples are TOML");
            assert_eq!((setting.check)(&table["value"]), Ok(()), "{}", setting.path);
            if let Some(default) = (setting.default)() {
                assert_eq!((setting.check)(&default), Ok(()), "{}", setting.path);
            }
        }
    }

    #[test]
    fn variables_are_named_after_the_setting() {
        assert_eq!(find("server.key_file").expect("known").variable(), "RECKON_SERVER_KEY_FILE");
    }
}
