//! Reading a configuration file: every key must be known, every value of its kind, and a
//! mistake is named with its file, line and the nearest known key.

use std::path::Path;

use toml::{
    Value,
    de::{DeTable, DeValue},
};

use super::{
    Layer, Source, Sourced,
    nearest::nearest,
    settings::{self, SECTIONS, SETTINGS},
};

/// Returns the values that `text`, the content of `path`, sets.
pub(crate) fn parse(path: &Path, text: &str) -> anyhow::Result<Layer> {
    let place = |offset: usize| format!("{}:{}", path.display(), line_of(text, offset));
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        anyhow::anyhow!("{}: {}", place(offset), error.message())
    })?;
    // Typed values come from a second, plain reading; spans come from the first.
    let plain: toml::Table = toml::from_str(text)?;

    let mut layer = Layer::new();
    for (section, content) in table.get_ref() {
        let name = section.get_ref().as_ref();
        let at = place(section.span().start);
        if !SECTIONS.iter().any(|known| known.name == name) {
            anyhow::bail!(
                "{at}: there is no section `{name}`{}",
                meant(name, SECTIONS.iter().map(|known| known.name))
            );
        }
        let DeValue::Table(keys) = content.get_ref() else {
            anyhow::bail!("{at}: `{name}` is a section; write [{name}] and its keys below");
        };
        for key in keys.keys() {
            let at = key.span().start;
            let key = key.get_ref().as_ref();
            let value = plain.get(name).and_then(|section| section.get(key));
            let value = value.ok_or_else(|| anyhow::anyhow!("{}: `{key}` has no value", place(at)))?;
            let path_of_setting =
                check(name, key, value).map_err(|why| anyhow::anyhow!("{}: {why}", place(at)))?;
            let source = Source::File { path: path.to_owned(), line: line_of(text, at) };
            layer.insert(path_of_setting, Sourced { value: value.clone(), source });
        }
    }
    Ok(layer)
}

/// Returns the setting's path in the table if the key is known and the value of its kind.
fn check(section: &str, key: &str, value: &Value) -> Result<&'static str, String> {
    let path = format!("{section}.{key}");
    let Some(setting) = settings::find(&path) else {
        let known = SETTINGS.iter().filter(|setting| setting.section == section).map(|setting| setting.key);
        return Err(format!("there is no `{key}` in [{section}]{}", meant(key, known)));
    };
    (setting.check)(value).map_err(|why| format!("{path}: {why}"))?;
    Ok(setting.path)
}

fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default()
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(Path::new("reckon.toml"), text).expect_err("refused").to_string()
    }

    #[test]
    fn mistakes_are_named_where_they_stand() {
        assert_eq!(refusal("[modle]\n"), "reckon.toml:1: there is no section `modle`; did you mean `model`?");
        assert_eq!(
            refusal("\nmodel = 1\n"),
            "reckon.toml:2: `model` is a section; write [model] and its keys below"
        );
        assert!(refusal("[model]\nname = \n").starts_with("reckon.toml:2: "));
        assert_eq!(refusal("[server]\ncolour = 1\n"), "reckon.toml:2: there is no `colour` in [server]");
    }

    #[test]
    fn dotted_and_inline_tables_are_the_same_settings() {
        let layer =
            parse(Path::new("reckon.toml"), "model.name = \"x\"\nserver = { listen = \"[::1]:1\" }\n")
                .expect("parses");
        assert_eq!(layer["model.name"].value.as_str(), Some("x"));
        assert_eq!(layer["server.listen"].source, Source::File { path: "reckon.toml".into(), line: 2 });
    }
}
