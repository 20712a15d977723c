//! Lines with a mark before each: the gutter of code, the indent of output.

use std::io::{self, Write};

/// Puts a mark before each line of a text that comes in pieces.
#[derive(Debug)]
pub(crate) struct Marks {
    mark: &'static str,
    at_start: bool,
}

impl Marks {
    /// Starts at the beginning of a line.
    pub(crate) fn new(mark: &'static str) -> Self {
        Self { mark, at_start: true }
    }

    /// Writes the next piece.
    pub(crate) fn write(&mut self, out: &mut dyn Write, text: &str) -> io::Result<()> {
        for piece in text.split_inclusive('\n') {
            if self.at_start {
                out.write_all(self.mark.as_bytes())?;
            }
            out.write_all(piece.as_bytes())?;
            self.at_start = piece.ends_with('\n');
        }
        Ok(())
    }

    /// Ends the line that has begun, if one has.
    pub(crate) fn end_line(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if !self.at_start {
            out.write_all(b"\n")?;
            self.at_start = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_marked_once_however_it_is_cut() {
        let mut written = Vec::new();
        let mut marks = Marks::new("| ");
        for piece in ["a", "b\nc\n", "", "\n", "d"] {
            marks.write(&mut written, piece).expect("written");
        }
        marks.end_line(&mut written).expect("written");
        marks.end_line(&mut written).expect("written");
        assert_eq!(String::from_utf8(written).expect("text"), "| ab\n| c\n| \n| d\n");
    }
}
