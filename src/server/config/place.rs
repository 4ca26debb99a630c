//! Where a setting is kept, and how a value gets there from TOML or from text.

use super::nearest::hint;
use super::parse_bind;
use std::net::IpAddr;
use std::path::PathBuf;

/// A value as a file or a variable gives it.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number; wide enough to name what does not fit.
    Integer(i128),
    /// A number with a point.
    Float(f64),
    /// Text.
    Text(String),
    /// A list of texts or whole numbers.
    List(Vec<Value>),
    /// A table, by its keys.
    Table(Vec<(String, Value)>),
}

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Range {
    /// Whatever the place takes.
    Any,
    /// A whole number, both ends included. `u64::MAX` is written as no upper end.
    Integers(u64, u64),
    /// A number, both ends included.
    Numbers(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of so many items, both ends included.
    Items(usize, usize),
    /// Text that is never shown again.
    Secret,
}

/// The field of the settings that a key stands for.
pub enum Place<'a> {
    /// On or off.
    Switch(&'a mut bool),
    /// A number with a point.
    Float(&'a mut f64),
    /// A whole number.
    Integer(&'a mut dyn IntegerPlace),
    /// Text, or what is written as text.
    Text(&'a mut dyn TextPlace),
    /// A list.
    List(&'a mut dyn ListPlace),
    /// Tables by names that users choose: `[section.key.name]`. In the file only.
    Table(&'a mut dyn TablePlace),
}

/// A field that holds a whole number, or none.
pub trait IntegerPlace {
    /// Takes a number; says whether it fits.
    fn put(&mut self, value: u64) -> bool;
    /// The number that is there.
    fn get(&self) -> Option<u64>;
}

/// A field that is written as text. Implement it for a type that has names, and give its key
/// [`Range::OneOf`].
pub trait TextPlace {
    /// Takes a text. The error continues "`key` ".
    fn put(&mut self, text: &str) -> Result<(), String>;
    /// The text that is there.
    fn get(&self) -> Option<String>;
}

/// A field that holds a list.
pub trait ListPlace {
    /// Whether its items are whole numbers, or else texts.
    fn numbers(&self) -> bool {
        false
    }
    /// Takes the items. The error continues "`key` ".
    fn put(&mut self, items: &[String]) -> Result<(), String>;
    /// The items that are there.
    fn get(&self) -> Vec<String>;
}

/// A field that holds entries by name, each with keys of its own.
pub trait TablePlace {
    /// The keys of the entry called `name`, which is made if it is not there.
    fn entry(&mut self, name: &str) -> Vec<(&'static str, Place<'_>)>;
    /// The names of the entries that are there.
    fn names(&self) -> Vec<String>;
}

macro_rules! integer_place {
    ($($type:ty)*) => {$(
        impl IntegerPlace for $type {
            fn put(&mut self, value: u64) -> bool {
                <$type>::try_from(value).map(|value| *self = value).is_ok()
            }
            fn get(&self) -> Option<u64> {
                Some(*self as u64)
            }
        }
        impl IntegerPlace for Option<$type> {
            fn put(&mut self, value: u64) -> bool {
                <$type>::try_from(value).map(|value| *self = Some(value)).is_ok()
            }
            fn get(&self) -> Option<u64> {
                self.map(|value| value as u64)
            }
        }
    )*};
}

integer_place!(u16 u32 u64 usize);

impl TextPlace for String {
    fn put(&mut self, text: &str) -> Result<(), String> {
        text.clone_into(self);
        Ok(())
    }
    fn get(&self) -> Option<String> {
        Some(self.clone())
    }
}

/// Empty text is none.
impl TextPlace for Option<String> {
    fn put(&mut self, text: &str) -> Result<(), String> {
        *self = (!text.is_empty()).then(|| text.to_owned());
        Ok(())
    }
    fn get(&self) -> Option<String> {
        self.clone()
    }
}

/// Empty text is none.
impl TextPlace for Option<PathBuf> {
    fn put(&mut self, text: &str) -> Result<(), String> {
        *self = (!text.is_empty()).then(|| PathBuf::from(text));
        Ok(())
    }
    fn get(&self) -> Option<String> {
        self.as_ref().map(|path| path.display().to_string())
    }
}

impl ListPlace for Vec<String> {
    fn put(&mut self, items: &[String]) -> Result<(), String> {
        items.clone_into(self);
        Ok(())
    }
    fn get(&self) -> Vec<String> {
        self.clone()
    }
}

impl ListPlace for Vec<usize> {
    fn numbers(&self) -> bool {
        true
    }
    fn put(&mut self, items: &[String]) -> Result<(), String> {
        *self = items
            .iter()
            .map(|item| item.parse().map_err(|_| "must hold whole numbers of 0 or more".to_owned()))
            .collect::<Result<_, String>>()?;
        Ok(())
    }
    fn get(&self) -> Vec<String> {
        self.iter().map(usize::to_string).collect()
    }
}

impl ListPlace for Vec<IpAddr> {
    fn put(&mut self, items: &[String]) -> Result<(), String> {
        let addresses = items.iter().map(|item| parse_bind(item));
        *self = addresses.collect::<Result<_, _>>().map_err(|why| format!("is wrong: {why}"))?;
        Ok(())
    }
    fn get(&self) -> Vec<String> {
        self.iter().map(IpAddr::to_string).collect()
    }
}

impl Place<'_> {
    /// Takes a value that a file gives. The error continues "`key` ", and does not repeat texts,
    /// which may be secrets.
    pub fn put(self, value: Value, range: Range) -> Result<(), String> {
        let wrong = Err(format!("must be {}", self.wanted(range)));
        match (self, value) {
            (Place::Switch(place), Value::Switch(value)) => *place = value,
            (Place::Float(place), Value::Float(value)) if is_within(value, range) => *place = value,
            (Place::Float(place), Value::Integer(value)) if is_within(value as f64, range) => {
                *place = value as f64;
            }
            (place @ Place::Integer(_), Value::Integer(value)) => {
                return place.put_integer(value, range);
            }
            (place @ Place::Float(_), Value::Float(value)) => {
                return Err(format!("must be {}, not {value}", place.wanted(range)));
            }
            (place @ Place::Float(_), Value::Integer(value)) => {
                return Err(format!("must be {}, not {value}", place.wanted(range)));
            }
            (Place::Text(place), Value::Text(text)) => {
                if let Range::OneOf(words) = range
                    && !words.contains(&text.as_str())
                {
                    return Err(format!("must be one of {}, not '{text}'", words.join(", ")));
                }
                return place.put(&text);
            }
            (Place::List(place), Value::List(values)) => {
                let items = values.into_iter().map(|value| item(value, place.numbers()));
                let Some(items) = items.collect::<Option<Vec<String>>>() else { return wrong };
                if let Range::Items(least, most) = range
                    && !(least..=most).contains(&items.len())
                {
                    return wrong;
                }
                return place.put(&items);
            }
            // One item is a list too: `bind = "127.0.0.1"`.
            (place @ Place::List(_), Value::Text(text)) => {
                let words = text.split([' ', ',']).filter(|word| !word.is_empty());
                let words = words.map(|word| Value::Text(word.to_owned())).collect();
                return place.put(Value::List(words), range);
            }
            (Place::Table(place), Value::Table(entries)) => {
                return entries
                    .into_iter()
                    .try_for_each(|(name, entry)| put_entry(place, &name, entry));
            }
            _ => return wrong,
        }
        Ok(())
    }

    fn put_integer(self, value: i128, range: Range) -> Result<(), String> {
        let wrong = Err(format!("must be {}, not {value}", self.wanted(range)));
        let Place::Integer(place) = self else { return wrong };
        let (least, most) = match range {
            Range::Integers(least, most) => (least, most),
            _ => (0, u64::MAX),
        };
        match u64::try_from(value) {
            Ok(value) if (least..=most).contains(&value) && place.put(value) => Ok(()),
            _ => wrong,
        }
    }

    /// Reads a value from text, as a variable holds it. The error continues "`key` ".
    pub fn put_text(self, text: &str, range: Range) -> Result<(), String> {
        let wrong = || format!("must be {}", self.wanted(range));
        let value = match &self {
            Place::Switch(_) => text.parse().map(Value::Switch).map_err(|_| wrong())?,
            Place::Float(_) => text.parse().map(Value::Float).map_err(|_| wrong())?,
            Place::Integer(_) => text.parse().map(Value::Integer).map_err(|_| wrong())?,
            Place::Text(_) => Value::Text(text.to_owned()),
            Place::List(place) => {
                let numbers = place.numbers();
                let items = text.split([' ', ',']).filter(|item| !item.is_empty());
                let items = items.map(|item| match item.parse() {
                    Ok(number) if numbers => Value::Integer(number),
                    _ => Value::Text(item.to_owned()),
                });
                Value::List(items.collect())
            }
            Place::Table(_) => return Err("can be set in the file only".to_owned()),
        };
        self.put(value, range)
    }

    /// What may be written here, in words: "a whole number from 1 to 600000".
    pub fn wanted(&self, range: Range) -> String {
        match (self, range) {
            (Place::Switch(_), _) => "true or false".to_owned(),
            (_, Range::OneOf(words)) => format!("one of {}", words.join(", ")),
            (_, Range::Integers(least, u64::MAX)) => format!("a whole number, {least} or more"),
            (_, Range::Integers(least, most)) => format!("a whole number from {least} to {most}"),
            (_, Range::Numbers(least, most)) => format!("a number from {least} to {most}"),
            (Place::Float(_), _) => "a number".to_owned(),
            (Place::Integer(_), _) => "a whole number".to_owned(),
            (Place::Text(_), _) => "text".to_owned(),
            (Place::Table(_), _) => "tables by name".to_owned(),
            (Place::List(place), range) => {
                let items = if place.numbers() { "whole numbers" } else { "texts" };
                match range {
                    Range::Items(least, most) => format!("a list of {least} to {most} {items}"),
                    _ => format!("a list of {items}"),
                }
            }
        }
    }

    /// What is there, as TOML; `None` when nothing is.
    pub fn toml(&self) -> Option<String> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        Some(match self {
            Place::Switch(value) => value.to_string(),
            Place::Float(value) => format!("{value:?}"),
            Place::Integer(place) => place.get()?.to_string(),
            Place::Text(place) => quoted(&place.get()?),
            // There is none by default.
            Place::Table(_) => return None,
            Place::List(place) if place.numbers() => format!("[{}]", place.get().join(", ")),
            Place::List(place) => {
                let items: Vec<String> = place.get().iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
        })
    }

    /// What is there, as the replies of `CONFIG GET` have it: without quotes, items apart by
    /// spaces, and empty when nothing is there.
    pub fn text(&self) -> String {
        match self {
            Place::Switch(value) => value.to_string(),
            Place::Float(value) => value.to_string(),
            Place::Integer(place) => {
                place.get().map_or_else(String::new, |value| value.to_string())
            }
            Place::Text(place) => place.get().unwrap_or_default(),
            Place::List(place) => place.get().join(" "),
            Place::Table(place) => place.names().join(" "),
        }
    }
}

/// Puts the entry called `name` into a table. The error continues "`key` ".
fn put_entry(place: &mut dyn TablePlace, name: &str, entry: Value) -> Result<(), String> {
    let Value::Table(values) = entry else {
        return Err(format!("is wrong: `{name}` must be a table"));
    };
    for (key, value) in values {
        let mut places = place.entry(name);
        match places.iter().position(|(known, _)| *known == key) {
            Some(at) => places
                .swap_remove(at)
                .1
                .put(value, Range::Any)
                .map_err(|problem| format!("is wrong: `{key}` of `{name}` {problem}"))?,
            None => {
                let known: Vec<&str> = places.iter().map(|(known, _)| *known).collect();
                return Err(format!(
                    "is wrong: unknown key `{key}` of `{name}`; {}",
                    hint(&key, &known)
                ));
            }
        }
    }
    Ok(())
}

/// An item of a list as text, if it is of the right kind.
fn item(value: Value, numbers: bool) -> Option<String> {
    match value {
        Value::Text(text) if !numbers => Some(text),
        Value::Integer(number) if numbers => Some(number.to_string()),
        _ => None,
    }
}

/// Written so that it refuses NaN too.
fn is_within(value: f64, range: Range) -> bool {
    match range {
        Range::Numbers(least, most) => value >= least && value <= most,
        _ => value.is_finite(),
    }
}
