//! The configuration: flag over environment over file over default, each value with its source.
//! What the settings are is in `settings.rs`; this module only finds the values.

mod file;
mod kinds;
mod nearest;
mod reference;
mod settings;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use anyhow::Context as _;

use reckon_protocol::{Limits, Preset};

use crate::env::Environment;

pub(crate) use kinds::{Bytes, Period, SettingKind, parse_address};
pub(crate) use reference::{commented_file, markdown};
pub(crate) use settings::{Config, SETTINGS, Setting};

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// An option of the command line, `--model`.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A preset that somebody named.
    Preset(Preset),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Preset(preset) => write!(formatter, "preset {preset}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sourced {
    /// The value.
    pub(crate) value: toml::Value,
    /// Its origin.
    pub(crate) source: Source,
}

/// The values that one layer sets, by the setting's path (`model.name`).
pub(crate) type Layer = BTreeMap<&'static str, Sourced>;

/// Options of the command line that stand for settings.
#[derive(Debug, Default)]
pub(crate) struct Flags(Layer);

impl Flags {
    /// Adds the setting `path` if its option was given. The path is one of the table.
    pub(crate) fn set<T: SettingKind>(&mut self, path: &'static str, flag: &'static str, value: Option<&T>) {
        debug_assert!(settings::find(path).is_some(), "{path} is a setting");
        if let Some(value) = value.and_then(SettingKind::write) {
            self.0.insert(path, Sourced { value, source: Source::Flag(flag) });
        }
    }
}

/// The effective configuration.
#[derive(Debug)]
pub(crate) struct Effective {
    /// The values as types.
    pub(crate) config: Config,
    /// The values as written, with their sources; settings without a value are absent.
    pub(crate) values: Layer,
    /// The file that was read, if there was one.
    pub(crate) file: Option<PathBuf>,
}

/// Finds the effective configuration. `explicit` is the file that `--config` names.
pub(crate) fn load(
    flags: Flags,
    environment: &Environment,
    explicit: Option<PathBuf>,
) -> anyhow::Result<Effective> {
    let file = match explicit {
        Some(path) => Some(path),
        None => environment.config_file(),
    };
    let mut values = defaults();
    if let Some(path) = &file {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        values.extend(file::parse(path, &text)?);
    }
    values.extend(from_environment(environment)?);
    values.extend(flags.0);
    let mut config = typed(&values)?;
    if let Some(preset) = config.sandbox.preset {
        apply(preset, &mut values);
        config = typed(&values)?;
    }
    Ok(Effective { config, values, file })
}

fn typed(values: &Layer) -> anyhow::Result<Config> {
    Config::read(&|path| values.get(path).map(|sourced| &sourced.value)).map_err(|(path, why)| {
        let source = values.get(path).map_or(&Source::Default, |sourced| &sourced.source);
        anyhow::anyhow!("{path} ({source}): {why}")
    })
}

/// Puts the figures of a preset where nobody said anything else.
fn apply(preset: Preset, values: &mut Layer) {
    let limits = preset.applied_to(&Limits::default());
    for (path, value) in [
        ("sandbox.memory", Bytes(limits.memory_bytes).write()),
        ("sandbox.cpu_millis", limits.cpu_millis.write()),
        ("sandbox.disk_size", Bytes(limits.disk_bytes).write()),
    ] {
        let said = values.get(path).is_some_and(|sourced| sourced.source != Source::Default);
        if let (false, Some(value)) = (said, value) {
            values.insert(path, Sourced { value, source: Source::Preset(preset) });
        }
    }
}

fn defaults() -> Layer {
    let value = |setting: &Setting| {
        let value = (setting.default)()?;
        Some((setting.path, Sourced { value, source: Source::Default }))
    };
    SETTINGS.iter().filter_map(value).collect()
}

fn from_environment(environment: &Environment) -> anyhow::Result<Layer> {
    let mut layer = Layer::new();
    for setting in SETTINGS {
        let name = setting.variable();
        if let Some(text) = environment.variable(&name) {
            let value = (setting.from_text)(text).map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
            layer.insert(setting.path, Sourced { value, source: Source::Environment(name) });
        }
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("reckon.toml");
        std::fs::write(&path, text).expect("written");
        (dir, path)
    }

    #[test]
    fn each_layer_hides_the_one_below_and_says_so() {
        let (_dir, path) =
            written("[model]\nname = \"file\"\nmax_steps = 7\n[server]\nlisten = \"127.0.0.1:1\"\n");
        let environment =
            environment(&[("RECKON_MODEL_NAME", "environment"), ("RECKON_MODEL_MAX_STEPS", "8")]);
        let mut flags = Flags::default();
        flags.set("model.name", "--model", Some(&"flag".to_owned()));

        let effective = load(flags, &environment, Some(path.clone())).expect("loads");

        assert_eq!(effective.config.model.name.as_deref(), Some("flag"));
        assert_eq!(effective.values["model.name"].source, Source::Flag("--model"));
        assert_eq!(effective.config.model.max_steps, 8);
        assert_eq!(
            effective.values["model.max_steps"].source.to_string(),
            "environment RECKON_MODEL_MAX_STEPS"
        );
        assert_eq!(effective.config.server.listen.port(), 1);
        assert_eq!(effective.values["server.listen"].source, Source::File { path, line: 5 });
        assert_eq!(effective.values["sandbox.pids"].source, Source::Default);
        assert_eq!(effective.config.model.base_url, None);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        let (_dir, path) = written("[model]\nname = \"x\"\nmax_step = 7\n");
        let error = load(Flags::default(), &environment(&[]), Some(path.clone())).expect_err("refused");
        let text = format!("{error:#}");
        assert!(text.contains(&format!("{}:3", path.display())), "{text}");
        assert!(text.contains("max_step") && text.contains("`max_steps`"), "{text}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_where_it_stands() {
        let (_dir, path) = written("[model]\nmax_steps = \"many\"\n");
        let error = load(Flags::default(), &environment(&[]), Some(path.clone())).expect_err("refused");
        assert!(
            format!("{error:#}").contains(&format!("{}:2: model.max_steps", path.display())),
            "{error:#}"
        );

        let error = load(Flags::default(), &environment(&[("RECKON_SANDBOX_MEMORY", "lots")]), None)
            .expect_err("refused");
        assert!(format!("{error:#}").contains("RECKON_SANDBOX_MEMORY"), "{error:#}");
    }

    #[test]
    fn a_preset_sets_what_nobody_else_does_and_says_so() {
        let (_dir, path) = written("[sandbox]\npreset = \"standard-1\"\n");
        let environment = environment(&[("RECKON_SANDBOX_CPU_MILLIS", "700")]);
        let mut flags = Flags::default();
        flags.set("sandbox.disk_size", "--disk", Some(&Bytes(1 << 30)));
        let effective = load(flags, &environment, Some(path)).expect("loads");
        let limits = effective.config.sandbox.limits();
        assert_eq!(
            limits,
            Limits { memory_bytes: 4 << 30, cpu_millis: 700, disk_bytes: 1 << 30, ..Limits::default() }
        );
        assert_eq!(effective.values["sandbox.memory"].source.to_string(), "preset standard-1");
        assert_eq!(effective.values["sandbox.disk_size"].source, Source::Flag("--disk"));

        let environment = self::environment(&[("RECKON_SANDBOX_PRESET", "huge")]);
        let error = format!("{:#}", load(Flags::default(), &environment, None).expect_err("refused"));
        assert!(
            error.contains("RECKON_SANDBOX_PRESET") && error.contains("lite, basic, standard-1"),
            "{error}"
        );
    }

    #[test]
    fn the_defaults_alone_are_a_configuration() {
        let effective = load(Flags::default(), &environment(&[]), None).expect("loads");
        assert_eq!(effective.config.model.max_steps, 5);
        assert_eq!(effective.config.sandbox.limits(), reckon_protocol::Limits::default());
    }
}
