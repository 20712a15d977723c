//! The kinds of value that a setting can have, how people write them, and how they read back.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use toml::Value;

/// A kind of value.
pub(crate) trait SettingKind: Sized {
    /// What the reference calls it.
    const NAME: &'static str;
    /// Reads a value of the configuration file.
    fn read(value: &Value) -> Result<Self, String>;
    /// Returns the value as it would stand in the file; `None` when there is none.
    fn write(&self) -> Option<Value>;
    /// Returns the value that a text of the environment stands for.
    fn from_text(text: &str) -> Result<Value, String>;
}

impl SettingKind for String {
    const NAME: &'static str = "text";

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| expected::<Self>(value))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        Ok(Value::String(text.to_owned()))
    }
}

impl SettingKind for PathBuf {
    const NAME: &'static str = "path";

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(Self::from).ok_or_else(|| expected::<Self>(value))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string_lossy().into_owned()))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        Ok(Value::String(text.to_owned()))
    }
}

impl SettingKind for SocketAddr {
    const NAME: &'static str = "address and port";

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| expected::<Self>(value))?;
        parse_address(text)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        parse_address(text).map(|_| Value::String(text.to_owned()))
    }
}

/// Reads an address and a port; the one name that needs no look-up is `localhost`.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    numeric
        .parse()
        .map_err(|_| format!("expected an address and a port such as 127.0.0.1:8787, found `{text}`"))
}

impl SettingKind for bool {
    const NAME: &'static str = "true or false";

    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| expected::<Self>(value))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        match text {
            "1" | "true" | "yes" | "on" => Ok(Value::Boolean(true)),
            "0" | "false" | "no" | "off" => Ok(Value::Boolean(false)),
            other => Err(format!("expected true or false, found `{other}`")),
        }
    }
}

macro_rules! whole_number {
    ($($kind:ty),+) => {$(
        impl SettingKind for $kind {
            const NAME: &'static str = "whole number";

            fn read(value: &Value) -> Result<Self, String> {
                let number = value.as_integer().ok_or_else(|| expected::<Self>(value))?;
                Self::try_from(number).map_err(|_| format!("{number} is out of range (0 to {})", Self::MAX))
            }

            fn write(&self) -> Option<Value> {
                i64::try_from(*self).ok().map(Value::Integer)
            }

            fn from_text(text: &str) -> Result<Value, String> {
                text.parse().map(Value::Integer).map_err(|_| format!("expected a whole number, found `{text}`"))
            }
        }
    )+};
}

whole_number!(u32, u64, usize);

impl SettingKind for f32 {
    const NAME: &'static str = "number";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(number) => Ok(*number as Self),
            Value::Integer(number) => Ok(*number as Self),
            other => Err(expected::<Self>(other)),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Float(f64::from(*self)))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        text.parse().map(Value::Float).map_err(|_| format!("expected a number, found `{text}`"))
    }
}

impl SettingKind for Vec<String> {
    const NAME: &'static str = "list of texts";

    fn read(value: &Value) -> Result<Self, String> {
        let items = value.as_array().ok_or_else(|| expected::<Self>(value))?;
        items.iter().map(String::read).collect()
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Array(self.iter().cloned().map(Value::String).collect()))
    }

    fn from_text(text: &str) -> Result<Value, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
    }
}

impl<T: SettingKind> SettingKind for Option<T> {
    const NAME: &'static str = T::NAME;

    fn read(value: &Value) -> Result<Self, String> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }

    fn from_text(text: &str) -> Result<Value, String> {
        T::from_text(text)
    }
}

/// A number of bytes, written `512m`, `2g` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

const BYTE_UNITS: [(&str, u64); 4] = [("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
        let unit = BYTE_UNITS.iter().find_map(|(suffix, factor)| Some((bare.strip_suffix(suffix)?, *factor)));
        let (digits, factor) = unit.unwrap_or((bare, 1));
        let number: Option<u64> = digits.trim().parse().ok();
        number
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("expected a size such as 512m or 2g, found `{text}`"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = BYTE_UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) => write!(formatter, "{}{unit}", self.0 / factor),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// A length of time, written `10s`, `500ms`, `2m`, `1h`; a plain number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

/// Longest suffix first, so that `ms` is not taken for `s`.
const PERIOD_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Period {
    /// Returns whole milliseconds.
    pub(crate) fn millis(self) -> u64 {
        self.0.as_millis() as u64
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let unit =
            PERIOD_UNITS.iter().find_map(|(suffix, factor)| Some((bare.strip_suffix(suffix)?, *factor)));
        let (digits, factor) = unit.unwrap_or((bare, 1000));
        let number: Option<f64> = digits.trim().parse().ok();
        number
            // A thousand years is no time-out, and a float that large is no longer exact.
            .filter(|number| number.is_finite() && *number >= 0.0 && *number * (factor as f64) < 3.2e13)
            .map(|number| Self(Duration::from_millis((number * factor as f64).round() as u64)))
            .ok_or_else(|| format!("expected a time such as 10s, 500ms or 2m, found `{text}`"))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        let whole =
            PERIOD_UNITS.iter().rev().find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) => write!(formatter, "{}{unit}", millis / factor),
            None => formatter.write_str("0s"),
        }
    }
}

macro_rules! written_as_text {
    ($kind:ty, $name:literal, $from_number:expr) => {
        impl SettingKind for $kind {
            const NAME: &'static str = $name;

            fn read(value: &Value) -> Result<Self, String> {
                match value {
                    Value::String(text) => text.parse(),
                    Value::Integer(number) => {
                        u64::try_from(*number).map($from_number).map_err(|_| format!("{number} is negative"))
                    }
                    other => Err(expected::<Self>(other)),
                }
            }

            fn write(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }

            fn from_text(text: &str) -> Result<Value, String> {
                text.parse::<Self>()?;
                Ok(Value::String(text.to_owned()))
            }
        }
    };
}

written_as_text!(Bytes, "size, `512m`", Bytes);
written_as_text!(Period, "time, `10s`", |seconds| Period(Duration::from_secs(seconds)));

fn expected<T: SettingKind>(found: &Value) -> String {
    format!("expected {}, found {} {found}", T::NAME, found.type_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in
            [("512m", 512 << 20), ("2g", 2 << 30), ("2GiB", 2 << 30), ("1000", 1000), ("4 k", 4096), ("0", 0)]
        {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "m", "-1", "1.5g", "99999999999999t", "lots"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(Bytes(1 << 30).to_string(), "1g");
        assert_eq!(Bytes(1500).to_string(), "1500");
    }

    #[test]
    fn addresses_read_without_a_look_up() {
        assert_eq!(parse_address("localhost:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(parse_address("[::1]:1").is_ok());
        for text in ["", "8787", "127.0.0.1", "example.org:80"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_read_and_print() {
        for (text, millis) in
            [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("3", 3000), ("0.5", 500)]
        {
            assert_eq!(text.parse::<Period>().map(Period::millis), Ok(millis), "{text}");
        }
        for text in ["", "s", "-1s", "inf", "NaN", "1e300d", "soon"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        assert_eq!(Period(Duration::from_secs(120)).to_string(), "2m");
        assert_eq!(Period(Duration::from_millis(1500)).to_string(), "1500ms");
    }
}
