//! Parses the text of a document into its syntax tree (section 2 of the specification, September 2025).
//!
//! Limits apply before and during the parse: the length, the tokens, and the brackets open at once, which is the depth
//! of the parser's recursion.

use async_graphql::{
    Name, Pos, ServerError,
    parser::types::{BaseType, OperationType, Type},
};

use super::ast::{
    Argument, Directive, Document, FieldNode, Fragment, Inline, Literal, OperationNode, SelectionNode, Spread, Value,
    Variable,
};
use super::lexer::{Lexer, Token};
use super::limits::{DocumentLimits, within};

type Parsed<T> = Result<T, ServerError>;

/// Parses a document.
pub(super) fn parse(text: &str, limits: &DocumentLimits) -> Parsed<Document> {
    within("bytes", text.len(), limits.document_bytes)?;
    let mut parser =
        Parser { lexer: Lexer::new(text), token: Token::End, pos: Pos::default(), tokens: 0, open: 0, limits };
    parser.advance()?;
    let mut document = Document { operations: Vec::new(), fragments: Vec::new(), tokens: 0 };
    loop {
        parser.definition(&mut document)?;
        if parser.token == Token::End {
            document.tokens = parser.tokens;
            return Ok(document);
        }
    }
}

/// Returns the error of a text that is not a document.
fn syntax(what: &str, pos: Pos) -> ServerError {
    ServerError::new(format!("syntax error: {what}"), Some(pos))
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    pos: Pos,
    tokens: usize,
    open: usize,
    limits: &'t DocumentLimits,
}

impl<'t> Parser<'t> {
    /// Reads the next token, and returns the current token.
    fn advance(&mut self) -> Parsed<Token<'t>> {
        let (token, pos) = self.lexer.next().map_err(|(what, pos)| syntax(&what, pos))?;
        if token != Token::End {
            self.tokens += 1;
            within("tokens", self.tokens, self.limits.tokens)?;
        }
        match token {
            Token::Sign(b'{' | b'[' | b'(') => self.open += 1,
            Token::Sign(b'}' | b']' | b')') => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        within("nested brackets", self.open, self.limits.nesting)?;
        self.pos = pos;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        Err(syntax(&format!("{wanted} is expected, not {}", self.token.shown()), self.pos))
    }

    fn is(&self, sign: u8) -> bool {
        self.token == Token::Sign(sign)
    }

    fn takes(&mut self, sign: u8) -> Parsed<bool> {
        let is = self.is(sign);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn demand(&mut self, sign: u8) -> Parsed<()> {
        if self.takes(sign)? { Ok(()) } else { self.unexpected(&format!("\"{}\"", char::from(sign))) }
    }

    fn name(&mut self) -> Parsed<Name> {
        let Token::Name(name) = self.token else { return self.unexpected("a name") };
        self.advance()?;
        Ok(Name::new(name))
    }

    /// Parses one or more items between two signs.
    fn many<T>(&mut self, signs: (u8, u8), mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.demand(signs.0)?;
        let mut items = vec![item(self)?];
        while !self.takes(signs.1)? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn definition(&mut self, document: &mut Document) -> Parsed<()> {
        let described = self.description()?;
        let pos = self.pos;
        let ty = match self.token {
            Token::Sign(b'{') if !described => {
                let selections = self.selections()?;
                document.operations.push(OperationNode {
                    ty: OperationType::Query,
                    name: None,
                    variables: Vec::new(),
                    directives: Vec::new(),
                    selections,
                    pos,
                });
                return Ok(());
            }
            Token::Name("query") => OperationType::Query,
            Token::Name("mutation") => OperationType::Mutation,
            Token::Name("subscription") => OperationType::Subscription,
            Token::Name("fragment") => {
                document.fragments.push(self.fragment()?);
                return Ok(());
            }
            _ => return self.unexpected("an operation or a fragment"),
        };
        self.advance()?;
        let name = if matches!(self.token, Token::Name(_)) { Some(self.name()?) } else { None };
        let variables = if self.is(b'(') { self.many((b'(', b')'), Self::variable)? } else { Vec::new() };
        let directives = self.directives(false)?;
        let selections = self.selections()?;
        document.operations.push(OperationNode { ty, name, variables, directives, selections, pos });
        Ok(())
    }

    /// Skips the description of a definition, which has no effect; returns whether there is one.
    fn description(&mut self) -> Parsed<bool> {
        let described = matches!(self.token, Token::String(_));
        if described {
            self.advance()?;
        }
        Ok(described)
    }

    fn fragment(&mut self) -> Parsed<Fragment> {
        let pos = self.pos;
        self.advance()?;
        if self.token == Token::Name("on") {
            return self.unexpected("the name of a fragment");
        }
        let name = self.name()?;
        if self.token != Token::Name("on") {
            return self.unexpected("\"on\"");
        }
        self.advance()?;
        let on = self.name()?;
        let directives = self.directives(false)?;
        Ok(Fragment { name, on, directives, selections: self.selections()?, pos })
    }

    fn variable(&mut self) -> Parsed<Variable> {
        self.description()?;
        let pos = self.pos;
        self.demand(b'$')?;
        let name = self.name()?;
        self.demand(b':')?;
        let ty = self.ty()?;
        let default = if self.takes(b'=')? { Some(self.value(true)?) } else { None };
        Ok(Variable { name, ty, default, directives: self.directives(true)?, pos })
    }

    fn ty(&mut self) -> Parsed<Type> {
        let base = if self.takes(b'[')? {
            let item = self.ty()?;
            self.demand(b']')?;
            BaseType::List(Box::new(item))
        } else {
            BaseType::Named(self.name()?)
        };
        Ok(Type { base, nullable: !self.takes(b'!')? })
    }

    fn directives(&mut self, is_const: bool) -> Parsed<Vec<Directive>> {
        let mut directives = Vec::new();
        while self.is(b'@') {
            let pos = self.pos;
            self.advance()?;
            let name = self.name()?;
            directives.push(Directive { name, arguments: self.arguments(is_const)?, pos });
        }
        Ok(directives)
    }

    fn arguments(&mut self, is_const: bool) -> Parsed<Vec<Argument>> {
        if !self.is(b'(') {
            return Ok(Vec::new());
        }
        self.many((b'(', b')'), |parser| {
            let pos = parser.pos;
            let name = parser.name()?;
            parser.demand(b':')?;
            Ok(Argument { name, value: parser.value(is_const)?, pos })
        })
    }

    fn selections(&mut self) -> Parsed<Vec<SelectionNode>> {
        self.many((b'{', b'}'), Self::selection)
    }

    fn selection(&mut self) -> Parsed<SelectionNode> {
        let pos = self.pos;
        if self.token != Token::Spread {
            return self.field(pos).map(Box::new).map(SelectionNode::Field);
        }
        self.advance()?;
        match self.token {
            Token::Name(name) if name != "on" => {
                self.advance()?;
                Ok(SelectionNode::Spread(Spread { name: Name::new(name), directives: self.directives(false)?, pos }))
            }
            _ => {
                let on = match self.token {
                    Token::Name(_) => {
                        self.advance()?;
                        Some(self.name()?)
                    }
                    _ => None,
                };
                let directives = self.directives(false)?;
                Ok(SelectionNode::Inline(Inline { on, directives, selections: self.selections()?, pos }))
            }
        }
    }

    fn field(&mut self, pos: Pos) -> Parsed<FieldNode> {
        let first = self.name()?;
        let (alias, name) = if self.takes(b':')? { (Some(first), self.name()?) } else { (None, first) };
        let arguments = self.arguments(false)?;
        let directives = self.directives(false)?;
        let selections = if self.is(b'{') { self.selections()? } else { Vec::new() };
        Ok(FieldNode { alias, name, arguments, directives, selections, pos })
    }

    fn value(&mut self, is_const: bool) -> Parsed<Value> {
        let pos = self.pos;
        let node = match self.token {
            Token::Sign(b'$') if !is_const => {
                self.advance()?;
                return Ok(Value { node: Literal::Variable(self.name()?), pos });
            }
            Token::Sign(b'[') => {
                self.advance()?;
                let mut items = Vec::new();
                while !self.takes(b']')? {
                    items.push(self.value(is_const)?);
                }
                return Ok(Value { node: Literal::List(items), pos });
            }
            Token::Sign(b'{') => {
                self.advance()?;
                let mut fields = Vec::new();
                while !self.takes(b'}')? {
                    let name = self.name()?;
                    self.demand(b':')?;
                    fields.push((name, self.value(is_const)?));
                }
                return Ok(Value { node: Literal::Object(fields), pos });
            }
            Token::Int(digits) => Literal::Int(digits.to_owned()),
            Token::Float(digits) => Literal::Float(digits.to_owned()),
            Token::Name("true") => Literal::Boolean(true),
            Token::Name("false") => Literal::Boolean(false),
            Token::Name("null") => Literal::Null,
            Token::Name(name) => Literal::Enum(Name::new(name)),
            Token::String(ref mut text) => Literal::String(std::mem::take(text)),
            _ => return self.unexpected("a value"),
        };
        self.advance()?;
        Ok(Value { node, pos })
    }
}
