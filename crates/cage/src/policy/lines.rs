//! The lines of a policy text: words, and a reason behind `#`. Mistakes are named with file and line.

use std::path::{Component, Path, PathBuf};

use crate::{error::Error, nearest::nearest};

/// One line that says something.
#[derive(Debug)]
pub(super) struct Line<'a> {
    file: &'static str,
    number: usize,
    words: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
}

/// Returns the lines that are neither empty nor only a comment; one without a reason is refused.
pub(super) fn lines<'a>(
    file: &'static str,
    text: &'a str,
) -> impl Iterator<Item = Result<Line<'a>, Error>> + use<'a> {
    text.lines().enumerate().filter_map(move |(index, text)| {
        let (rule, reason) = text.split_once('#').unwrap_or((text, ""));
        if rule.trim().is_empty() {
            return None;
        }
        let line = Line { file, number: index + 1, words: rule.split_whitespace().peekable() };
        Some(if reason.trim().is_empty() {
            Err(line.error("the line has no reason; add `# why`"))
        } else {
            Ok(line)
        })
    })
}

impl<'a> Line<'a> {
    /// Returns the next word.
    pub(super) fn word(&mut self, wanted: &str) -> Result<&'a str, Error> {
        self.words.next().ok_or_else(|| self.error(&format!("the line ends where {wanted} is wanted")))
    }

    /// Returns the next word if there is one.
    pub(super) fn another(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    /// Returns the next word as an absolute path without `.` and `..`.
    pub(super) fn path(&mut self) -> Result<PathBuf, Error> {
        let word = self.word("a path")?;
        let path = Path::new(word);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if path.is_absolute() && plain {
            return Ok(path.to_owned());
        }
        Err(self.error(&format!("`{word}` is no plain absolute path")))
    }

    /// Returns the next word's place in a table.
    pub(super) fn one_of<T: Copy>(&mut self, kind: &str, known: &[(&'static str, T)]) -> Result<T, Error> {
        let word = self.word(&format!("a {kind}"))?;
        self.look_up(kind, word, known)
    }

    /// Returns a word's place in a table.
    pub(super) fn look_up<T: Copy>(
        &self,
        kind: &str,
        word: &str,
        known: &[(&'static str, T)],
    ) -> Result<T, Error> {
        known.iter().find(|(name, _)| *name == word).map(|&(_, value)| value).ok_or_else(|| {
            let nearest = nearest(word, known.iter().map(|&(name, _)| name));
            self.error(&format!("unknown {kind} `{word}`, the nearest known is `{nearest}`"))
        })
    }

    /// Refuses further words.
    pub(super) fn end(mut self) -> Result<(), Error> {
        match self.words.next() {
            None => Ok(()),
            Some(word) => Err(self.error(&format!("`{word}` is one word too many"))),
        }
    }

    /// Returns an error at this line.
    pub(super) fn error(&self, problem: &str) -> Error {
        Error::Policy { file: self.file, line: self.number, problem: problem.to_owned() }
    }
}
