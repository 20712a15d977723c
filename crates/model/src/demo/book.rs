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
    takes: Takes,
    /// The largest number that it takes.
    #[serde(default)]
    pub(super) most: u64,
    #[serde(default)]
    words: String,
    code: String,
}

/// How the parameters of an intent are read.
#[derive(Debug, Clone, Copy, Deserialize)]
enum Takes {
    #[serde(rename = "formula")]
    Formula,
    #[serde(rename = "file")]
    File,
    #[serde(rename = "months")]
    Months,
    #[serde(rename = "list with targets")]
    Search,
    #[serde(rename = "list")]
    Sort,
    #[serde(rename = "integers")]
    Integers,
    #[serde(rename = "sequence")]
    Sequence,
    #[serde(rename = "list with aggregates")]
    Statistics,
    #[serde(rename = "expression")]
    Expression,
}

/// The data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    fillers: String,
    phrases: Vec<(String, String)>,
    pub(super) sequence: Vec<Sequence>,
    pub(super) everything: String,
    pub(super) aggregate: Vec<Aggregate>,
    pub(super) algorithm: Vec<Algorithm>,
    pub(super) intent: Vec<Intent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the data file")]
pub(super) struct Sequence {
    pub(super) words: String,
    pub(super) label: String,
    pub(super) terms: String,
    /// The most terms, and the highest value, that are worth a demo.
    #[serde(default = "default_most")]
    pub(super) most: u64,
    #[serde(default = "default_high")]
    pub(super) high: u64,
    /// "from 1 to 5" means the numbers that are put in, not those that come out.
    #[serde(default)]
    pub(super) arguments: bool,
    /// The lower end may be any integer.
    #[serde(default)]
    pub(super) whole: bool,
    /// Its terms are counted from 0.
    #[serde(default)]
    pub(super) zero: bool,
    /// It needs a number after "of" or "by".
    #[serde(default)]
    pub(super) base: bool,
}

fn default_most() -> u64 {
    100_000
}

fn default_high() -> u64 {
    1_000_000
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Aggregate {
    pub(super) words: String,
    #[serde(default)]
    pub(super) unless: String,
    pub(super) label: String,
    pub(super) code: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Algorithm {
    pub(super) words: String,
    #[serde(default)]
    pub(super) prepare: String,
    pub(super) code: String,
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
    BOOK.get_or_init(|| {
        toml::from_str(include_str!("../../demo/intents.toml"))
            .expect("the embedded file is the one that the tests read")
    })
}

/// Returns the plan for a prompt, or `None` when no intent fits it exactly.
pub(super) fn plan(prompt: &str, files: &[String]) -> Option<Plan> {
    let book = book();
    let mut text = format!(" {} ", prompt.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" "));
    for file in files {
        let name = file.rsplit('/').next().unwrap_or(file).to_lowercase();
        text = text.replace(&name, "file");
    }
    for (phrase, replacement) in &book.phrases {
        text = text.replace(phrase, replacement);
    }
    let tokens = words::tokens(&text);
    book.intent.iter().find_map(|intent| intent.plan(&tokens, files))
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
        let mut code = self.code.trim().to_owned();
        for (name, value) in &taken.values {
            code = code.replace(&format!("${name}"), value);
        }
        Some(Plan::Run { intent: &self.name, code })
    }

    fn take(&self, tokens: &[String], files: &[String]) -> Option<Taken> {
        match self.takes {
            Takes::Formula => parameters::curves(tokens),
            Takes::File => parameters::file(files),
            Takes::Months => parameters::months(tokens),
            Takes::Search => parameters::search(tokens),
            Takes::Sort => parameters::sort(tokens),
            Takes::Integers => parameters::integers(tokens, self.most),
            Takes::Sequence => parameters::sequence(tokens),
            Takes::Statistics => parameters::statistics(tokens),
            Takes::Expression => parameters::expression(tokens),
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
    let plural = |word: &str| {
        let stem = token.strip_suffix('s');
        stem == Some(word) || stem.and_then(|stem| stem.strip_suffix('e')) == Some(word)
    };
    words.split_whitespace().any(|word| token == word || plural(word))
}

/// Whether any token is one of the words.
pub(super) fn any_of(tokens: &[String], words: &str) -> bool {
    tokens.iter().any(|token| is_one_of(token, words))
}
