//! The embedded data file, and how one of its intents is matched to a prompt and filled with the prompt's parameters.

use std::sync::OnceLock;

use serde::Deserialize;

use super::parameters::{self, Taken};
use super::words;

/// Something that the demo planner can do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// A short name.
    pub name: String,
    /// What it does, as a sentence.
    pub description: String,
    /// A prompt that it answers.
    pub example: String,
    when: Vec<String>,
    #[serde(default)]
    unless: String,
    takes: String,
    /// The list to use when none is given.
    #[serde(default)]
    sample: String,
    #[serde(default)]
    most: u64,
    #[serde(default)]
    words: String,
    code: String,
}

/// The data file; its comments say what the tables mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    fillers: String,
    phrases: Vec<(String, String)>,
    pub(super) everything: String,
    pub(super) sequence: Vec<Row>,
    pub(super) part: Vec<Row>,
    pub(super) aggregate: Vec<Row>,
    pub(super) algorithm: Vec<Row>,
    pub(super) intent: Vec<Intent>,
}

/// A row of the smaller tables: words, and the Python that they stand for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Row {
    pub(super) words: String,
    pub(super) unless: String,
    pub(super) flags: String,
    pub(super) label: String,
    pub(super) code: String,
    pub(super) prepare: String,
    pub(super) goes_in: String,
    pub(super) most: Option<u64>,
}

impl Row {
    pub(super) fn is(&self, flag: &str) -> bool {
        self.flags.split_whitespace().any(|set| set == flag)
    }
}

/// What the planner will do about a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Run this code for the named intent.
    Run { intent: &'static str, code: String },
    /// The prompt is understood but asks for too much.
    TooMuch(String),
}

/// Returns the book; a test reads every entry of it.
pub(super) fn book() -> &'static Book {
    static BOOK: OnceLock<Book> = OnceLock::new();
    let text = include_str!("../../demo/intents.toml");
    BOOK.get_or_init(|| toml::from_str(text).expect("the embedded file is the one that the tests read"))
}

/// Returns the plan for a prompt, or `None` when no intent fits it exactly.
pub(super) fn plan(prompt: &str, files: &[String]) -> Option<Plan> {
    let mut text = format!(" {} ", prompt.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" "));
    for file in files {
        text = text.replace(&file.rsplit('/').next().unwrap_or(file).to_lowercase(), "file");
    }
    for (phrase, replacement) in &book().phrases {
        text = text.replace(phrase, replacement);
    }
    let tokens = words::tokens(&text);
    book().intent.iter().find_map(|intent| intent.plan(&tokens, files))
}

impl Intent {
    fn plan(&'static self, tokens: &[String], files: &[String]) -> Option<Plan> {
        let called = self.when.iter().all(|group| any_of(tokens, group)) && !any_of(tokens, &self.unless);
        let taken = called.then(|| self.take(tokens, files)).flatten()?;
        if !tokens.iter().enumerate().all(|(at, token)| taken.used.contains(&at) || self.knows(token, &taken))
        {
            return None;
        }
        if let Some(excess) = taken.excess {
            return Some(Plan::TooMuch(excess));
        }
        let filled = taken
            .values
            .iter()
            .fold(self.code.trim().to_owned(), |code, (name, value)| code.replace(name, value));
        Some(Plan::Run { intent: &self.name, code: filled })
    }

    fn take(&self, tokens: &[String], files: &[String]) -> Option<Taken> {
        match self.takes.as_str() {
            "formula" => parameters::curves(tokens),
            "file" => parameters::file(files),
            "months" => parameters::months(tokens),
            "list with targets" => parameters::search(tokens, &self.sample),
            "list" => parameters::sort(tokens, &self.sample),
            "integers" => parameters::integers(tokens, self.most),
            "sequence" => parameters::sequence(tokens),
            "list with aggregates" => parameters::statistics(tokens),
            _ => parameters::expression(tokens),
        }
    }

    /// Whether a token that is no parameter has its place in a prompt of this intent.
    fn knows(&self, token: &str, taken: &Taken) -> bool {
        let lists = [&book().fillers, &self.words, &taken.words].into_iter().chain(&self.when);
        matches!(token, "." | "," | "?" | "!" | ":" | ";" | "'" | "\"" | "(" | ")" | "[" | "]" | "=" | "`")
            || lists.into_iter().any(|list| is_one_of(token, list))
    }
}

/// Whether a token is one of the words, or its plural.
pub(super) fn is_one_of(token: &str, words: &str) -> bool {
    let stem = token.strip_suffix('s').unwrap_or(token);
    let stems = [token, stem, stem.strip_suffix('e').unwrap_or(stem)];
    words.split_whitespace().any(|word| stems.contains(&word))
}

/// Whether any token is one of the words.
pub(super) fn any_of(tokens: &[String], words: &str) -> bool {
    tokens.iter().any(|token| is_one_of(token, words))
}
