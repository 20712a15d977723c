//! Where a command writes: data to stdout, all else to stderr, and what each of them is.

use std::io::{self, IsTerminal as _, Write};

use reckon_protocol::MimeBundle;

use super::{
    inline::InlineImages,
    rich::{Shown, shown},
    safe,
    saved::OutDir,
    style,
};
use crate::env::Environment;

/// The two streams of a command, and what goes with them.
pub(crate) struct Desk {
    /// Data.
    pub(crate) out: Box<dyn Write + Send>,
    /// All else.
    pub(crate) err: Box<dyn Write + Send>,
    /// Whether a person reads `out` directly.
    pub(crate) out_is_terminal: bool,
    /// Whether a person reads `err` directly.
    pub(crate) err_is_terminal: bool,
    images: Option<InlineImages>,
    pictures: Pictures,
    saved: OutDir,
}

/// What becomes of a displayed picture, beside being shown where the terminal can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pictures {
    /// It is saved at once.
    Saved,
    /// PNG and JPEG come out with the workspace's files: the turn saved them there, so that the model can name them.
    InWorkspace,
}

impl Desk {
    /// Takes the streams of the process. Stdout is passed on byte by byte where it is no terminal.
    pub(crate) fn of_process(environment: &Environment, pictures: Pictures, saved: OutDir) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let err_is_terminal = io::stderr().is_terminal();
        let out: Box<dyn Write + Send> =
            if out_is_terminal { Box::new(anstream::stdout()) } else { Box::new(io::stdout()) };
        Self {
            out,
            err: Box::new(anstream::stderr()),
            out_is_terminal,
            err_is_terminal,
            images: err_is_terminal.then(|| InlineImages::of_terminal(environment)).flatten(),
            pictures,
            saved,
        }
    }

    /// Writes a note of ours to stderr, on a line of its own.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        let text = safe::clean(text);
        writeln!(self.err, "{}{}{}", style::DIM, text.trim_end(), style::END)
    }

    /// Saves what is an image, shows it where the terminal can, and returns what is text.
    pub(crate) fn present(&mut self, data: &MimeBundle) -> anyhow::Result<Option<String>> {
        match shown(data) {
            Shown::Image { bytes, extension, png } => {
                if let (Some(images), Some(png)) = (self.images, png) {
                    write!(self.err, "{}", images.show_png(&png))?;
                }
                if self.pictures == Pictures::Saved || !matches!(extension, "png" | "jpg") {
                    let path = self.saved.save(&format!("plot.{extension}"), &bytes)?;
                    self.note(&format!("saved {}", path.display()))?;
                }
                Ok(None)
            }
            Shown::Text(text) => Ok(Some(text)),
            Shown::Nothing => Ok(None),
        }
    }

    /// Returns where things are saved.
    pub(crate) fn saved(&self) -> &OutDir {
        &self.saved
    }

    #[cfg(test)]
    pub(crate) fn of_memory(saved: OutDir) -> (Self, Memory, Memory) {
        let (out, err) = (Memory::default(), Memory::default());
        let desk = Self {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            out_is_terminal: false,
            err_is_terminal: true,
            images: None,
            pictures: Pictures::Saved,
            saved,
        };
        (desk, out, err)
    }
}

/// A stream that tests read back, without its colours.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Memory {
    /// Returns what was written so far, without colours.
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("no test panics while it writes").clone();
        anstream::adapter::strip_str(&String::from_utf8(bytes).expect("text")).to_string()
    }
}

#[cfg(test)]
impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
