//! `#[derive(Enumeration)]`: a table of numbers and texts.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Data, DataEnum, DeriveInput, Error, Fields, LitInt, LitStr, Result, Token};

struct Attribute {
    number: i64,
    text: String,
}

impl Parse for Attribute {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let negative = input.parse::<Option<Token![-]>>()?.is_some();
        let number: i64 = input.parse::<LitInt>()?.base10_parse()?;
        input.parse::<Token![,]>()?;
        let text = input.parse::<LitStr>()?.value();
        Ok(Self { number: if negative { -number } else { number }, text })
    }
}

/// The table, one row for each variant.
fn rows(data: &DataEnum) -> Result<Vec<TokenStream>> {
    let mut rows = Vec::new();
    let mut numbers = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "variants of an enumeration carry no data"));
        }
        let attr =
            variant.attrs.iter().find(|attr| attr.path().is_ident("variant")).ok_or_else(|| {
                Error::new_spanned(variant, "every variant needs #[variant(NUMBER, \"text\")]")
            })?;
        let Attribute { number, text } = attr.parse_args()?;
        if numbers.contains(&number) {
            return Err(Error::new_spanned(variant, format!("number {number} is taken")));
        }
        numbers.push(number);
        let name = &variant.ident;
        rows.push(quote!((Self::#name, #number, #text)));
    }
    Ok(rows)
}

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(input, "only enums are enumerations"));
    };
    let rows = rows(data)?;
    let ident = &input.ident;
    Ok(quote! {
        impl ::corten_resource::Enumeration for #ident {
            const VARIANTS: &'static [(Self, i64, &'static str)] = &[#(#rows),*];
        }
        ::corten_resource::enumeration_field!(#ident);
        impl ::core::fmt::Display for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(::corten_resource::Enumeration::text(self))
            }
        }
        impl ::core::str::FromStr for #ident {
            type Err = ::corten_resource::UnknownText;
            fn from_str(text: &str) -> ::core::result::Result<Self, Self::Err> {
                ::corten_resource::Enumeration::parse(text)
            }
        }
    })
}
