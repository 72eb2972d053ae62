"""A tokenizer of ten words with a chat template, and a random model of them."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<eos>", ":", "a", "b", "c", "d", "e", "f", "g", "h"]
_TEMPLATE = "{% for turn in messages %}{{ turn.content }}{% if turn.role == 'user' %}:{% endif %}{% endfor %}"
_SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Each character is a word, unknown ones are ":"; so is the end token. A user's turn ends with ":"."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    model = Tokenizer(models.BPE(vocabulary, [], unk_token=WORDS[1]))
    model.add_special_tokens(WORDS[:1])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model)
    tokenizer.eos_token = tokenizer.pad_token = WORDS[0]
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def tiny_model() -> LlamaForCausalLM:
    """The same random weights each time."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=64, eos_token_id=0, pad_token_id=0, **_SHAPE)
    return LlamaForCausalLM(config)
