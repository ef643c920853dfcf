//! `controller!`: inputs and outputs of a controller as types.
//!
//! A type that is declared in several namespaces is readable in all of them; the first declaration
//! names the namespace that is meant when none is given.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Generics, Ident, LitStr, Result, Token, Type, bracketed};

/// One row of inputs or outputs: how, what and where.
struct Row {
    mode: Ident,
    kind: Type,
    namespace: TokenStream,
}

impl Parse for Row {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mode = input.parse()?;
        let kind: Type = input.parse()?;
        let namespace = if input.parse::<Option<Token![in]>>()?.is_some() {
            input.parse::<LitStr>()?.into_token_stream()
        } else {
            quote!(<#kind as ::corten_resource::Spec>::DEFINITION.namespace)
        };
        Ok(Self { mode, kind, namespace })
    }
}

/// The whole declaration.
pub struct Declaration {
    generics: Generics,
    controller: Type,
    name: LitStr,
    inputs: Vec<Row>,
    outputs: Vec<Row>,
}

fn rows(input: ParseStream<'_>, word: &str) -> Result<Vec<Row>> {
    let label: Ident = input.parse()?;
    if label != word {
        return Err(Error::new(label.span(), format!("expected `{word}:`")));
    }
    input.parse::<Token![:]>()?;
    let list;
    bracketed!(list in input);
    Ok(Punctuated::<Row, Token![,]>::parse_terminated(&list)?.into_iter().collect())
}

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let generics = if input.parse::<Option<Token![impl]>>()?.is_some() {
            input.parse()?
        } else {
            Generics::default()
        };
        let controller = input.parse()?;
        input.parse::<Token![,]>()?;
        let name = input.parse()?;
        input.parse::<Token![,]>()?;
        let inputs = rows(input, "inputs")?;
        input.parse::<Token![,]>()?;
        let outputs = rows(input, "outputs")?;
        input.parse::<Option<Token![,]>>()?;
        Ok(Self { generics, controller, name, inputs, outputs })
    }
}

fn mode(row: &Row, modes: &[(&str, &str)]) -> Result<Ident> {
    let word = row.mode.to_string();
    match modes.iter().find(|(name, _)| *name == word) {
        Some((_, variant)) => Ok(Ident::new(variant, row.mode.span())),
        None => {
            let names: Vec<&str> = modes.iter().map(|(name, _)| *name).collect();
            Err(Error::new(row.mode.span(), format!("expected one of {}", names.join(", "))))
        }
    }
}

/// One marker implementation for each distinct type.
fn markers(declaration: &Declaration, rows: &[Row], marker: &TokenStream) -> TokenStream {
    let (params, _, bounds) = declaration.generics.split_for_impl();
    let controller = &declaration.controller;
    let mut seen = BTreeSet::new();
    let mut all = TokenStream::new();
    for Row { kind, namespace, .. } in rows {
        if seen.insert(kind.to_token_stream().to_string()) {
            all.extend(quote! {
                impl #params #marker<#kind> for #controller #bounds { const NAMESPACE: &'static str = #namespace; }
            });
        }
    }
    all
}

pub fn expand(declaration: &Declaration) -> Result<TokenStream> {
    let mut inputs = Vec::new();
    for row in &declaration.inputs {
        let strength =
            mode(row, &[("strong", "Strong"), ("weak", "Weak"), ("destroy_ready", "DestroyReady")])?;
        let Row { kind, namespace, .. } = row;
        inputs.push(quote!(::corten_resource::Input {
            definition: &<#kind as ::corten_resource::Spec>::DEFINITION,
            namespace: #namespace,
            strength: ::corten_resource::Strength::#strength,
        }));
    }
    let mut outputs = Vec::new();
    for row in &declaration.outputs {
        let sharing = mode(row, &[("exclusive", "Exclusive"), ("shared", "Shared")])?;
        let Row { kind, namespace, .. } = row;
        outputs.push(quote!(::corten_resource::Output {
            definition: &<#kind as ::corten_resource::Spec>::DEFINITION,
            namespace: #namespace,
            sharing: ::corten_resource::Sharing::#sharing,
        }));
    }
    let reads = markers(declaration, &declaration.inputs, &quote!(::corten_resource::Reads));
    let writes = markers(declaration, &declaration.outputs, &quote!(::corten_resource::Writes));
    let (params, _, bounds) = declaration.generics.split_for_impl();
    let Declaration { controller, name, .. } = declaration;
    Ok(quote! {
        impl #params ::corten_resource::Declared for #controller #bounds {
            const NAME: &'static str = #name;
            const INPUTS: &'static [::corten_resource::Input] = &[#(#inputs),*];
            const OUTPUTS: &'static [::corten_resource::Output] = &[#(#outputs),*];
        }
        #reads
        #writes
    })
}
