//! `#[derive(Record)]`: a table of fields and access by index.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Data, DeriveInput, Error, Fields, Ident, LitInt, LitStr, Result, Token};

struct Attribute {
    number: u32,
    key: String,
    omit_empty: bool,
    inline: bool,
    form: TokenStream,
}

impl Parse for Attribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let number = input.parse::<LitInt>()?.base10_parse()?;
        input.parse::<Token![,]>()?;
        let key = input.parse::<LitStr>()?.value();
        let mut attribute = Self {
            number,
            key,
            omit_empty: false,
            inline: false,
            form: quote!(::corten_resource::Form::Plain),
        };
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let flag: Ident = input.parse()?;
            match flag.to_string().as_str() {
                "omitempty" => attribute.omit_empty = true,
                "inline" => attribute.inline = true,
                "base64" => attribute.form = quote!(::corten_resource::Form::Base64),
                "url" => attribute.form = quote!(::corten_resource::Form::Url),
                "expression" => attribute.form = quote!(::corten_resource::Form::Expression),
                "number_keys" => attribute.form = quote!(::corten_resource::Form::NumberKeys),
                "pairs" => attribute.form = quote!(::corten_resource::Form::Pairs),
                _ => {
                    let expected =
                        "expected omitempty, inline, base64, url, expression, number_keys or pairs";
                    return Err(Error::new(flag.span(), expected));
                }
            }
        }
        Ok(attribute)
    }
}

fn attribute(field: &syn::Field) -> Result<Attribute> {
    let attr = field
        .attrs
        .iter()
        .find(|attr| attr.path().is_ident("field"))
        .ok_or_else(|| Error::new_spanned(field, "every field needs #[field(NUMBER, \"yamlKey\")]"))?;
    attr.parse_args()
}

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(input, "only structs are records"));
    };
    let fields: Vec<&syn::Field> = match &data.fields {
        Fields::Named(named) => named.named.iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => return Err(Error::new_spanned(&data.fields, "fields of a record have names")),
    };
    let rows = rows(&fields)?;
    let names: Vec<_> = fields.iter().map(|field| field.ident.as_ref()).collect();
    Ok(implementations(&input.ident, &names, &rows))
}

/// The table, one row for each field.
fn rows(fields: &[&syn::Field]) -> Result<Vec<TokenStream>> {
    let mut rows = Vec::new();
    let mut numbers = Vec::new();
    for field in fields {
        let Attribute { number, key, omit_empty, inline, form } = attribute(field)?;
        if number != 0 && numbers.contains(&number) {
            return Err(Error::new_spanned(field, format!("number {number} is taken")));
        }
        numbers.push(number);
        rows.push(quote!(::corten_resource::FieldDef {
            number: #number, key: #key, omit_empty: #omit_empty, inline: #inline, form: #form
        }));
    }
    Ok(rows)
}

fn implementations(ident: &Ident, names: &[Option<&Ident>], rows: &[TokenStream]) -> TokenStream {
    let index = 0..names.len();
    let index_mut = index.clone();
    quote! {
        impl ::corten_resource::Record for #ident {
            fn fields(&self) -> &'static [::corten_resource::FieldDef] { &[#(#rows),*] }
            fn field(&self, index: usize) -> ::core::option::Option<&dyn ::corten_resource::Field> {
                match index { #(#index => ::core::option::Option::Some(&self.#names),)* _ => ::core::option::Option::None }
            }
            fn field_mut(&mut self, index: usize) -> ::core::option::Option<&mut dyn ::corten_resource::Field> {
                match index { #(#index_mut => ::core::option::Option::Some(&mut self.#names),)* _ => ::core::option::Option::None }
            }
        }
        impl ::corten_resource::Field for #ident {
            fn kind(&self) -> ::corten_resource::Kind { ::corten_resource::Kind::Record }
            fn read(&self) -> ::corten_resource::Node<'_> { ::corten_resource::Node::Record(self) }
            fn record_mut(&mut self) -> ::core::option::Option<&mut dyn ::corten_resource::Record> {
                ::core::option::Option::Some(self)
            }
            fn clear(&mut self) { *self = ::core::default::Default::default(); }
        }
        impl ::corten_resource::FieldType for #ident {
            const KIND: ::corten_resource::Kind = ::corten_resource::Kind::Record;
            fn blank() -> Self { ::core::default::Default::default() }
        }
    }
}
