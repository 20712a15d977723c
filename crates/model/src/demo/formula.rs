//! Reading formulas out of tokens: only numbers, operators, known functions and x ever become Python.

use super::words::is_number;

const FUNCTIONS: &str = "sin cos tan asin acos atan sinh cosh tanh exp log ln log2 log10 sqrt abs floor ceil round \
    square cube factorial gcd lcm max min";

/// A formula and the tokens that it stands for.
pub(super) struct Formula {
    /// The first token and the one after the last.
    pub(super) span: (usize, usize),
    /// The formula as Python.
    pub(super) python: String,
    /// Whether x is in it.
    pub(super) has_x: bool,
    /// Whether there is something to compute, rather than a lone number.
    pub(super) computes: bool,
}

/// Finds the longest formulas, from left to right.
pub(super) fn find(tokens: &[String]) -> Vec<Formula> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        let mut reader = Reader { tokens, at: start, has_x: false, computes: false };
        start += 1;
        if let Some(python) = reader.sum() {
            let span = (start - 1, reader.at);
            start = reader.at;
            found.push(Formula { span, python, has_x: reader.has_x, computes: reader.computes });
        }
    }
    found
}

/// A recursive descent; a part that does not fit is given back, so that "5 - to" reads as 5.
struct Reader<'a> {
    tokens: &'a [String],
    at: usize,
    has_x: bool,
    computes: bool,
}

impl Reader<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.peek() == token;
        self.at += usize::from(taken);
        taken
    }

    fn sum(&mut self) -> Option<String> {
        self.chain(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Option<String> {
        self.chain(&["*", "/", "%", ""], Self::signed)
    }

    /// Reads operands joined by `operators`; the empty operator is a multiplication that is not written.
    fn chain(&mut self, operators: &[&str], operand: fn(&mut Self) -> Option<String>) -> Option<String> {
        let mut python = operand(self)?;
        loop {
            let (start, has_x) = (self.at, self.has_x);
            let next = self.peek();
            let operator = operators.iter().find(|operator| **operator == next || operator.is_empty());
            let written = operator.is_some_and(|operator| !operator.is_empty());
            let Some(operator) = operator.filter(|_| written || self.may_touch()) else {
                return Some(python);
            };
            self.at += usize::from(written);
            let Some(right) = operand(self) else {
                (self.at, self.has_x) = (start, has_x);
                return Some(python);
            };
            self.computes = true;
            python = format!("{python} {} {right}", if written { operator } else { &"*" });
        }
    }

    /// Whether what follows may be multiplied without a sign: `2x`, `3 sin(x)`, `(x + 1)(x - 1)`.
    fn may_touch(&self) -> bool {
        let before = self.at.checked_sub(1).map_or("", |before| self.tokens[before].as_str());
        let next = self.peek();
        (is_number(before) || matches!(before, ")" | "x" | "pi"))
            && (matches!(next, "x" | "(" | "pi") || is_function(next))
    }

    fn signed(&mut self) -> Option<String> {
        if self.take("-") { self.signed().map(|inner| format!("-{inner}")) } else { self.power() }
    }

    fn power(&mut self) -> Option<String> {
        let number = self.peek();
        // `-2 ^ 2` is -(2 ^ 2).
        let (sign, unsigned) = number
            .strip_prefix('-')
            .filter(|_| is_number(number))
            .map_or(("", None), |n| ("-", Some(n.to_owned())));
        let mut base = match unsigned {
            Some(number) => {
                self.at += 1;
                number
            }
            None => self.atom()?,
        };
        while self.take("!") {
            self.computes = true;
            base = format!("factorial({base})");
        }
        let start = self.at;
        if self.take("^") {
            match self.signed() {
                Some(exponent) => {
                    self.computes = true;
                    base = format!("power({base}, {exponent})");
                }
                None => self.at = start,
            }
        }
        Some(format!("{sign}{base}"))
    }

    fn atom(&mut self) -> Option<String> {
        let token = self.peek().to_owned();
        let start = self.at;
        self.at += 1;
        let read = match token.as_str() {
            "(" => self.sum().filter(|_| self.take(")")).map(|inner| format!("({inner})")),
            "x" => {
                self.has_x = true;
                Some(token)
            }
            "pi" | "e" => Some(token),
            number if is_number(number) => Some(number.to_owned()),
            function if is_function(function) => {
                self.arguments().map(|arguments| format!("{function}({arguments})"))
            }
            _ => None,
        };
        if read.is_none() {
            self.at = start;
        }
        read
    }

    fn arguments(&mut self) -> Option<String> {
        self.computes = true;
        self.take("of");
        if !self.take("(") {
            return self.signed();
        }
        let mut arguments = self.sum()?;
        while self.take(",") {
            arguments = format!("{arguments}, {}", self.sum()?);
        }
        self.take(")").then_some(arguments)
    }
}

fn is_function(token: &str) -> bool {
    FUNCTIONS.split_whitespace().any(|function| function == token)
}
