//! A tree into a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::functions;
use crate::parse::{Binary, Node, Shape, Walk};
use crate::{Error, ErrorKind, STEPS_MAX, Scope, Value, units};

/// Bytes or elements whose making or searching counts as one step.
const LENGTH_OF_STEP: usize = 16;

/// The value of a tree.
pub fn evaluate(root: &Node, scope: &dyn Scope) -> Result<Value, Error> {
    Evaluation { scope, steps: 0, elements: Vec::new() }.value(root)
}

struct Evaluation<'a> {
    scope: &'a dyn Scope,
    steps: usize,
    /// Elements of the lists that are being walked, the innermost last.
    elements: Vec<(&'a str, Value)>,
}

impl<'a> Evaluation<'a> {
    /// Counts work; refuses when there was enough.
    fn spend(&mut self, length: usize, at: usize) -> Result<(), Error> {
        self.steps += 1 + length / LENGTH_OF_STEP;
        if self.steps > STEPS_MAX {
            return Err(Error::new(ErrorKind::Bound, at, format!("it takes more than {STEPS_MAX} steps")));
        }
        Ok(())
    }

    fn value(&mut self, node: &'a Node) -> Result<Value, Error> {
        let at = node.at;
        self.spend(0, at)?;
        match &node.shape {
            Shape::Constant(value) => Ok(value.clone()),
            Shape::Name(name) => self.named(name, at),
            Shape::Not(inner) => Ok(Value::Bool(!self.bool(inner)?)),
            Shape::Negate(inner) => negative(&self.value(inner)?, at),
            Shape::Binary(Binary::Or, a, b) => self.decided(a, b, true),
            Shape::Binary(Binary::And, a, b) => self.decided(a, b, false),
            Shape::Binary(operator, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                self.binary(*operator, &a, &b, at)
            }
            Shape::Choice(condition, then, otherwise) => {
                let is_true = self.bool(condition)?;
                self.value(if is_true { then } else { otherwise })
            }
            Shape::List(nodes) => {
                let values: Result<Vec<Value>, Error> = nodes.iter().map(|node| self.value(node)).collect();
                Ok(Value::List(values?.into()))
            }
            Shape::Map(entries) => self.map(entries),
            Shape::Field(message, field) => {
                let message = self.value(message)?;
                message_field(&message, field, at)
            }
            Shape::Has(message, field) => match self.value(message)? {
                Value::Map(fields) => Ok(Value::Bool(fields.get(field).is_some_and(is_set))),
                other => Err(no_fields(&other, at)),
            },
            Shape::Index(list, index) => {
                let (list, index) = (self.value(list)?, self.value(index)?);
                indexed(&list, &index, at)
            }
            Shape::Call(name, nodes) | Shape::Method(name, nodes) => self.call(name, nodes, at),
            Shape::Walk(walk, list, element, body) => self.walk(*walk, list, element, body, at),
        }
    }

    fn named(&self, name: &str, at: usize) -> Result<Value, Error> {
        let element = self.elements.iter().rev().find(|(element, _)| *element == name);
        let value = element.map(|(_, value)| value.clone());
        let value = value.or_else(|| self.scope.variable(name)).or_else(|| units::unit(name));
        value.ok_or_else(|| Error::new(ErrorKind::Mistake, at, format!("{name:?} has no value here")))
    }

    fn bool(&mut self, node: &'a Node) -> Result<bool, Error> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            other => {
                let message = format!("expected a bool, found {}", other.kind());
                Err(Error::new(ErrorKind::Mistake, node.at, message))
            }
        }
    }

    /// `||` and `&&`: a side that decides alone does so even when the other side has no value.
    fn decided(&mut self, a: &'a Node, b: &'a Node, decides: bool) -> Result<Value, Error> {
        let first = self.bool(a);
        if first.as_ref() == Ok(&decides) || first.as_ref().is_err_and(|error| error.kind == ErrorKind::Bound)
        {
            return first.map(Value::Bool);
        }
        match self.bool(b) {
            Ok(second) if second == decides => Ok(Value::Bool(decides)),
            second => first.and(second).map(Value::Bool),
        }
    }

    fn binary(&mut self, operator: Binary, a: &Value, b: &Value, at: usize) -> Result<Value, Error> {
        match operator {
            Binary::Equal | Binary::Unequal => {
                Ok(Value::Bool(self.equal(a, b, at)? == (operator == Binary::Equal)))
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                if !a.is_comparable(b) {
                    return Err(combined("compare", a, b, at));
                }
                let order = a.compare(b);
                let holds = order.is_some_and(|order| match operator {
                    Binary::Less => order.is_lt(),
                    Binary::LessOrEqual => order.is_le(),
                    Binary::Greater => order.is_gt(),
                    _ => order.is_ge(),
                });
                Ok(Value::Bool(holds))
            }
            Binary::In => {
                self.spend(b.length().saturating_mul(LENGTH_OF_STEP), at)?;
                match (a, b) {
                    (a, Value::List(list)) => {
                        for item in list.iter() {
                            if self.equal(item, a, at)? {
                                return Ok(Value::Bool(true));
                            }
                        }
                        Ok(Value::Bool(false))
                    }
                    (Value::Text(key), Value::Map(map)) => Ok(Value::Bool(map.contains_key(&**key))),
                    _ => Err(combined("look for", a, b, at)),
                }
            }
            Binary::Add => self.add(a, b, at),
            _ => arithmetic(operator, a, b, at),
        }
    }

    /// Equality of the language: numbers are equal by value, values of different kinds are not. Every element counts, also
    /// one that is in many lists at once: of those few bytes make more than can be compared.
    fn equal(&mut self, a: &Value, b: &Value, at: usize) -> Result<bool, Error> {
        match (a, b) {
            (Value::List(a), Value::List(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b.iter()) {
                    self.spend(0, at)?;
                    if !self.equal(a, b, at)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) if a.len() == b.len() => {
                for ((key, a), (other, b)) in a.iter().zip(b.iter()) {
                    self.spend(key.len(), at)?;
                    if key != other || !self.equal(a, b, at)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => Ok(false),
            _ => {
                self.spend(a.length().min(b.length()), at)?;
                Ok(a.is_same(b))
            }
        }
    }

    fn add(&mut self, a: &Value, b: &Value, at: usize) -> Result<Value, Error> {
        match (a, b) {
            (Value::Text(a), Value::Text(b)) => {
                self.spend(a.len() + b.len(), at)?;
                Ok(Value::Text([&**a, &**b].concat().into()))
            }
            (Value::List(a), Value::List(b)) => {
                self.spend((a.len() + b.len()).saturating_mul(LENGTH_OF_STEP), at)?;
                Ok(Value::List(a.iter().chain(b.iter()).cloned().collect()))
            }
            _ => arithmetic(Binary::Add, a, b, at),
        }
    }

    fn call(&mut self, name: &str, nodes: &'a [Node], at: usize) -> Result<Value, Error> {
        let arguments: Result<Vec<Value>, Error> = nodes.iter().map(|node| self.value(node)).collect();
        let arguments = arguments?;
        self.spend(arguments.iter().map(Value::length).sum(), at)?;
        if let Some(result) = functions::call(name, &arguments) {
            return result.map_err(|message| Error::new(ErrorKind::Values, at, message));
        }
        if let Some(result) = self.scope.call(name, &arguments) {
            return Ok(result);
        }
        let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
        let message = format!("{name} does not take ({})", kinds.join(", "));
        Err(Error::new(ErrorKind::Mistake, at, message))
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Value, Error> {
        let mut map = BTreeMap::new();
        for (key_node, node) in entries {
            let at = key_node.at;
            let key = match self.value(key_node)? {
                Value::Text(key) => key.as_ref().to_owned(),
                other => {
                    let message = format!("expected a string as a key, found {}", other.kind());
                    return Err(Error::new(ErrorKind::Mistake, at, message));
                }
            };
            if map.insert(key, self.value(node)?).is_some() {
                return Err(Error::new(ErrorKind::Mistake, at, "the key is there twice"));
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn walk(
        &mut self,
        walk: Walk,
        list: &'a Node,
        element: &'a str,
        body: &'a Node,
        at: usize,
    ) -> Result<Value, Error> {
        let items: Vec<Value> = match self.value(list)? {
            Value::List(items) => items.to_vec(),
            Value::Map(map) => map.keys().map(|key| Value::from(key.as_str())).collect(),
            other => {
                let message = format!("expected a list, found {}", other.kind());
                return Err(Error::new(ErrorKind::Mistake, at, message));
            }
        };
        self.spend(items.len().saturating_mul(LENGTH_OF_STEP), at)?;
        let (mut made, mut hits, mut trouble) = (Vec::new(), 0_usize, None);
        for item in items {
            self.elements.push((element, item.clone()));
            let value = if walk == Walk::Map { self.value(body) } else { self.bool(body).map(Value::Bool) };
            self.elements.pop();
            match (walk, value) {
                // As with `||` and `&&`, an element that decides does so whatever the others are.
                (Walk::All, Ok(Value::Bool(false))) => return Ok(Value::Bool(false)),
                (Walk::Exists, Ok(Value::Bool(true))) => return Ok(Value::Bool(true)),
                (Walk::ExistsOne, Ok(Value::Bool(true))) => hits += 1,
                (Walk::Filter, Ok(Value::Bool(true))) => made.push(item),
                (Walk::Map, Ok(value)) => made.push(value),
                (Walk::All | Walk::Exists, Err(error)) if error.kind != ErrorKind::Bound => {
                    trouble.get_or_insert(error);
                }
                (_, Err(error)) => return Err(error),
                (_, Ok(_)) => {}
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        Ok(match walk {
            Walk::All => Value::Bool(true),
            Walk::Exists => Value::Bool(false),
            Walk::ExistsOne => Value::Bool(hits == 1),
            Walk::Filter | Walk::Map => Value::List(made.into()),
        })
    }
}

/// As in protobuf: a field that has the value of its type that means nothing is not set.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Uint(value) => *value != 0,
        Value::Double(value) => *value != 0.0,
        Value::Text(_) | Value::List(_) | Value::Map(_) => value.length() > 0,
    }
}

fn no_fields(value: &Value, at: usize) -> Error {
    Error::new(ErrorKind::Mistake, at, format!("{} has no fields", value.kind()))
}

fn message_field(message: &Value, field: &str, at: usize) -> Result<Value, Error> {
    let Value::Map(fields) = message else { return Err(no_fields(message, at)) };
    fields.get(field).cloned().ok_or_else(|| {
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        let message = format!("there is no field {field:?}; there is {}", known.join(", "));
        Error::new(ErrorKind::Mistake, at, message)
    })
}

fn indexed(list: &Value, index: &Value, at: usize) -> Result<Value, Error> {
    let found = match (list, index) {
        (Value::List(list), Value::Int(index)) => {
            usize::try_from(*index).ok().and_then(|index| list.get(index))
        }
        (Value::List(list), Value::Uint(index)) => {
            usize::try_from(*index).ok().and_then(|index| list.get(index))
        }
        (Value::Map(map), Value::Text(key)) => map.get(&**key),
        _ => return Err(combined("index", list, index, at)),
    };
    found.cloned().ok_or_else(|| Error::new(ErrorKind::Values, at, "there is no such element"))
}

fn combined(verb: &str, a: &Value, b: &Value, at: usize) -> Error {
    Error::new(ErrorKind::Mistake, at, format!("cannot {verb} {} and {}", a.kind(), b.kind()))
}

fn negative(value: &Value, at: usize) -> Result<Value, Error> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| overflow(at)),
        Value::Double(value) => Ok(Value::Double(-value)),
        other => Err(Error::new(ErrorKind::Mistake, at, format!("cannot negate {}", other.kind()))),
    }
}

fn overflow(at: usize) -> Error {
    Error::new(ErrorKind::Values, at, "the result is too large, or a division by zero")
}

fn arithmetic(operator: Binary, a: &Value, b: &Value, at: usize) -> Result<Value, Error> {
    let wrong = || combined("calculate with", a, b, at);
    let (a, b) = match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let result = match operator {
                Binary::Add => a.checked_add(*b),
                Binary::Subtract => a.checked_sub(*b),
                Binary::Multiply => a.checked_mul(*b),
                Binary::Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            return result.map(Value::Int).ok_or_else(|| overflow(at));
        }
        (Value::Double(a), Value::Double(b)) => {
            return Ok(Value::Double(match operator {
                Binary::Add => a + b,
                Binary::Subtract => a - b,
                Binary::Multiply => a * b,
                Binary::Divide => a / b,
                _ => return Err(wrong()),
            }));
        }
        (Value::Uint(a), Value::Uint(b)) => (*a, *b),
        (Value::Uint(a), Value::Int(b)) => (*a, u64::try_from(*b).map_err(|_| wrong())?),
        (Value::Int(a), Value::Uint(b)) => (u64::try_from(*a).map_err(|_| wrong())?, *b),
        _ => return Err(wrong()),
    };
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result.map(Value::Uint).ok_or_else(|| overflow(at))
}
