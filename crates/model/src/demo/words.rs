//! Cutting a prompt into lower-case words, numbers and symbols; number words become numbers.

const NUMBER_WORDS: &str = "zero=0 one=1 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 \
    twelve=12 dozen=12 thirteen=13 fourteen=14 fifteen=15 sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 \
    thirty=30 forty=40 fifty=50 sixty=60 seventy=70 eighty=80 ninety=90 hundred=100 thousand=1000 million=1000000 \
    second=2nd third=3rd fourth=4th fifth=5th sixth=6th seventh=7th eighth=8th ninth=9th tenth=10th twentieth=20th \
    hundredth=100th";

/// Whether a token is a number, such as `-2.5`.
pub(super) fn is_number(token: &str) -> bool {
    token.parse::<f64>().is_ok() && token.ends_with(|end: char| end.is_ascii_digit())
}

/// Cuts a text that the phrases of the book were already applied to.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let (mut rest, mut brackets, mut before) = (text, 0_i32, ' ');
    while let Some(first) = rest.chars().next() {
        let signed = first == '-' && is_sign(before, tokens.last());
        let digits = rest[usize::from(signed)..].starts_with(|digit: char| digit.is_ascii_digit());
        let length = if digits && (signed || first != '-') {
            usize::from(signed) + number_length(&rest[usize::from(signed)..], brackets > 0)
        } else if first.is_alphabetic() {
            rest.find(|end: char| !end.is_alphanumeric() && end != '\'' && end != '_').unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let token = &rest[..length];
        brackets += i32::from(first == '[') - i32::from(first == ']');
        before = token.chars().last().unwrap_or(' ');
        rest = &rest[length..];
        let hyphen =
            first == '-' && length == 1 && rest.starts_with(char::is_alphabetic) && before_is_word(&tokens);
        if !first.is_whitespace() && !hyphen {
            tokens.push(if digits { plain(token) } else { token.to_owned() });
        }
    }
    fold_number_words(&tokens)
}

/// Returns a number as Python takes it: without thousands separators and leading zeros.
fn plain(number: &str) -> String {
    let digits = number.trim_start_matches('-').replace(',', "");
    let trimmed = digits.trim_start_matches('0');
    let zero = if trimmed.starts_with(|digit: char| digit.is_ascii_digit()) { "" } else { "0" };
    format!("{}{zero}{trimmed}", if number.starts_with('-') { "-" } else { "" })
}

/// A minus sign belongs to the number after it at the start, after a space or bracket, but not between operands.
fn is_sign(before: char, last: Option<&String>) -> bool {
    let after_operand =
        last.is_some_and(|token| is_number(token) || matches!(token.as_str(), "x" | "pi" | "e" | ")"));
    (before.is_whitespace() || matches!(before, '[' | '(' | ',')) && !after_operand
}

fn before_is_word(tokens: &[String]) -> bool {
    tokens.last().is_some_and(|token| token.len() > 1 && token.chars().all(char::is_alphanumeric))
}

/// Returns the length of the number that `text` begins with: digits, thousands, decimals and an ordinal's ending.
fn number_length(text: &str, in_list: bool) -> usize {
    let run = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut end = run(0);
    // `1,000` is a thousand; within brackets, and unless every group has three digits, a comma separates.
    let mut grouped = end;
    while text[grouped..].starts_with(',') && run(grouped + 1) == 3 {
        grouped += 4;
    }
    let is_grouped = end <= 3 && !(text[grouped..].starts_with(',') && run(grouped + 1) > 0);
    if !in_list && is_grouped {
        end = grouped;
    }
    if text[end..].starts_with('.') && run(end + 1) > 0 {
        end += 1 + run(end + 1);
    }
    let ordinal = ["st", "nd", "rd", "th"].iter().any(|ending| text[end..].starts_with(ending));
    if ordinal { end + 2 } else { end }
}

fn fold_number_words(tokens: &[String]) -> Vec<String> {
    let value = |token: &String| {
        NUMBER_WORDS.split_whitespace().filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == token)
    };
    let mut folded: Vec<String> = Vec::new();
    // The value of the number words so far, when the last token was one.
    let mut open: Option<u64> = None;
    for (at, token) in tokens.iter().enumerate() {
        let Some((_, digits)) = value(token) else {
            let joins = open.is_some_and(|so_far| so_far >= 100)
                && tokens.get(at + 1).is_some_and(|next| value(next).is_some());
            if token != "and" || !joins {
                folded.push(token.clone());
                open = token.parse().ok();
            }
            continue;
        };
        let combined = match (open, digits.parse::<u64>()) {
            (Some(before), Ok(scale @ (100 | 1000 | 1_000_000))) => before.checked_mul(scale),
            (Some(before), Ok(unit)) if unit < 10 && before % 10 == 0 && before % 100 >= 20 => {
                Some(before + unit)
            }
            (Some(before), Ok(rest)) if rest < 100 && before >= 100 && before % 100 == 0 => {
                Some(before + rest)
            }
            _ => None,
        };
        if combined.is_some() {
            folded.pop();
        }
        open = combined.or_else(|| digits.parse().ok());
        folded.push(open.map_or_else(|| digits.to_owned(), |number| number.to_string()));
    }
    folded
}
