//! Values of expressions to stored values, with the bytes that the same JSON would have.

use bytes::Bytes;

use super::budget::Fault;
use super::value::Value;
use crate::data::{self, Data};

pub(crate) fn encode(value: &Value) -> Result<Data, Fault> {
    let mut out = Vec::new();
    write(&mut out, value, 0)?;
    Data::from_msgpack(Bytes::from(out)).map_err(|error| Fault::Spent(format!("its result is refused: {error}")))
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Fault> {
    // Shared lists make small values print large: stop while writing, not after.
    if out.len() > data::MAX_BYTES {
        return Err(Fault::Spent(format!("its result is more than {} bytes (payload limit)", data::MAX_BYTES)));
    }
    if depth > data::MAX_DEPTH {
        return Err(Fault::Spent(format!("its result nests deeper than {} levels (depth limit)", data::MAX_DEPTH)));
    }
    let too_long = |_| Fault::Spent("its result is too long".to_owned());
    let written = match value {
        Value::Null => {
            out.push(0xc0);
            Ok(())
        }
        Value::Bool(bool) => {
            out.push(if *bool { 0xc3 } else { 0xc2 });
            Ok(())
        }
        Value::Int(int) => rmp::encode::write_sint(out, *int).map(drop),
        Value::UInt(uint) => rmp::encode::write_uint(out, *uint).map(drop),
        Value::Double(double) if !double.is_finite() => {
            return Err(Fault::wrong(format!("{double} is no JSON number")));
        }
        Value::Double(double) => rmp::encode::write_f64(out, *double),
        Value::Text(text) => {
            if text.len() > data::MAX_BYTES {
                return Err(Fault::Spent(format!("its result is more than {} bytes (payload limit)", data::MAX_BYTES)));
            }
            rmp::encode::write_str(out, text)
        }
        Value::List(items) => {
            rmp::encode::write_array_len(out, u32::try_from(items.len()).map_err(too_long)?)
                .map_err(|error| Fault::Spent(error.to_string()))?;
            return items.iter().try_for_each(|item| write(out, item, depth + 1));
        }
        Value::Map(entries) => {
            rmp::encode::write_map_len(out, u32::try_from(entries.len()).map_err(too_long)?)
                .map_err(|error| Fault::Spent(error.to_string()))?;
            return entries.iter().try_for_each(|(key, item)| {
                rmp::encode::write_str(out, key).map_err(|error| Fault::Spent(error.to_string()))?;
                write(out, item, depth + 1)
            });
        }
    };
    written.map_err(|error| Fault::Spent(error.to_string()))
}
