//! The reference of the settings, generated from their table: the commented file that
//! `reckon init` writes and the Markdown page.

use std::fmt::Write as _;

use super::settings::{SECTIONS, SETTINGS, Section, Setting};

/// Returns a configuration file with every setting commented out at its default.
pub(crate) fn commented_file() -> String {
    let mut text = String::from(
        "# The configuration of Reckon. Every line is commented out and shows the default.\n\
         # A flag hides an environment variable, which hides this file; `reckon config show` tells\n\
         # which value is in force and where it came from.\n",
    );
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.doc);
        let _ = writeln!(text, "[{}]", section.name);
        for setting in of(section) {
            text.push('\n');
            comment(&mut text, setting.doc);
            let _ = writeln!(text, "{}", line(setting));
        }
    }
    text
}

/// Returns the reference as a Markdown page.
pub(crate) fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Generated from crates/cli/src/config/settings.rs by `reckon config reference`; do not edit. -->\n\n\
         A value comes from, in this order: a flag, an environment variable, the file, the default.\n\
         The file is the one that `--config` or `RECKON_CONFIG` names, else `./reckon.toml`, else `$XDG_CONFIG_HOME/reckon/reckon.toml` (`~/.config/reckon/reckon.toml`).\n\
         `reckon init` writes a commented one; `reckon config show` prints each effective value and where it came from.\n\
         An unknown key is refused with its line and the nearest known key.\n",
    );
    for section in SECTIONS {
        let _ = write!(text, "\n## [{}]\n\n{}\n\n", section.name, section.doc.trim());
        text.push_str("| key | kind | default | environment | what it is |\n|---|---|---|---|---|\n");
        for setting in of(section) {
            let default = setting.default_text().map_or_else(|| "–".to_owned(), |text| format!("`{text}`"));
            let doc = setting.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            let _ = writeln!(
                text,
                "| `{}` | {} | {default} | `{}` | {doc} |",
                setting.key,
                setting.kind,
                setting.variable()
            );
        }
    }
    text.push_str("\n## Other environment variables\n\n| variable | what it is |\n|---|---|\n");
    for (name, doc) in crate::env::VARIABLES {
        let _ = writeln!(text, "| `{name}` | {doc} |");
    }
    text
}

fn of(section: &Section) -> impl Iterator<Item = &'static Setting> {
    let name = section.name;
    SETTINGS.iter().filter(move |setting| setting.section == name)
}

fn comment(text: &mut String, doc: &str) {
    for line in doc.trim().lines() {
        let _ = writeln!(text, "# {}", line.trim());
    }
}

/// Returns the setting's line. One without a default shows an example instead.
fn line(setting: &Setting) -> String {
    format!("#{} = {}", setting.key, setting.default_text().unwrap_or_else(|| setting.example.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    #[test]
    fn the_commented_file_sets_nothing_and_is_right_when_uncommented() {
        let text = commented_file();
        assert!(file::parse(Path::new("reckon.toml"), &text).expect("parses").is_empty());

        let is_setting =
            |line: &str| line.starts_with('#') && line.contains(" = ") && !line.starts_with("# ");
        let uncommented: Vec<&str> =
            text.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
        let layer = file::parse(Path::new("reckon.toml"), &uncommented.join("\n")).expect("parses");
        assert_eq!(layer.len(), SETTINGS.len());
    }

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let written = std::fs::read_to_string(&page).expect("docs/configuration.md can be read");
        assert_eq!(
            written,
            markdown(),
            "write it anew: cargo run -- config reference > docs/configuration.md"
        );
    }
}
