"""Tiny models with random weights: the six architectures of Table 1 and MPNet, each a local folder of a few kilobytes.

A folder holds what the real one would: a configuration, `model.safetensors` of the bare encoder or decoder (so the
classification head is new each time it is loaded, as with pretrained weights), and a tokeniser whose vocabulary is
`WORDS` and the letters (the trainers of WordPiece and Unigram give another vocabulary in every process, so only BPE
is trained).
"""

from pathlib import Path

WORDS = {
    "metal": "gold silver copper ore mine ounce refinery zinc tin alloy".split(),
    "grain": "wheat corn barley harvest tonnes crop farm maize rye oats".split(),
    "money": "bank rate credit loan bond yield deposit fund dollar yen".split(),
}
ARCHITECTURES = ("bert", "albert", "deberta", "gpt2", "t5", "mpnet")


def toy_texts(n=60, seed=0, length=(3, 12), classes=("metal", "grain", "money")):
    """`n` short texts and their classes, evenly spread, easy to tell apart by their words."""
    import numpy as np

    rng = np.random.default_rng(seed)
    labels = rng.permutation(n) % len(classes)
    texts = [" ".join(rng.choice(WORDS[classes[c]], size=rng.integers(*length))) for c in labels]
    return texts, labels.astype(np.int64)


TEXTS = toy_texts(200)[0]


def tokenizer(kind):
    """A tokeniser of the architecture's own family: WordPiece (BERT, MPNet), BPE (GPT-2) or Unigram (the others)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    marks = {
        "bert": dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"),
        "mpnet": dict(pad_token="<pad>", unk_token="[UNK]", cls_token="<s>", sep_token="</s>", mask_token="<mask>"),
        "gpt2": dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"),
        "t5": dict(pad_token="<pad>", eos_token="</s>", unk_token="<unk>"),
    }
    marks["albert"] = marks["deberta"] = marks["bert"]
    m = marks[kind]
    special = list(dict.fromkeys(m.values()))
    words, letters = [w for c in WORDS.values() for w in c], "abcdefghijklmnopqrstuvwxyz"
    if kind in ("bert", "mpnet"):
        pieces = special + words + list(letters) + [f"##{c}" for c in letters]
        t = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "gpt2":
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        t.train_from_iterator(TEXTS, trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False))
    else:
        pieces = [(s, 0.) for s in special] + [(f"▁{w}", -3.) for w in words] + [(c, -9.) for c in "▁" + letters]
        t = Tokenizer(models.Unigram(pieces, unk_id=special.index(m["unk_token"])))
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        t.add_special_tokens(special)
    if kind != "gpt2":
        first, last = m.get("cls_token"), m.get("sep_token") or m["eos_token"]
        pairs = [(s, t.token_to_id(s)) for s in (first, last) if s]
        t.post_processor = processors.TemplateProcessing(single=f"{first or ''} $A {last}".strip(),
                                                         special_tokens=pairs)
    return PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=32, **m)


def network(kind, vocab, pad, layers=2):
    """The bare network of one architecture, 16 wide, its weights drawn by the global generator of torch."""
    import transformers as tf

    small = dict(vocab_size=vocab, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
                 intermediate_size=32, max_position_embeddings=34, pad_token_id=pad)
    if kind == "bert":
        return tf.BertModel(tf.BertConfig(**small))
    if kind == "albert":
        return tf.AlbertModel(tf.AlbertConfig(**small, embedding_size=8))
    if kind == "deberta":
        more = dict(relative_attention=True, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True,
                    pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0)
        return tf.DebertaV2Model(tf.DebertaV2Config(**small, **more))
    if kind == "mpnet":
        return tf.MPNetModel(tf.MPNetConfig(**small))
    if kind == "gpt2":
        return tf.GPT2Model(tf.GPT2Config(vocab_size=vocab, n_embd=16, n_layer=layers, n_head=2, n_positions=34))
    config = tf.T5Config(vocab_size=vocab, d_model=16, d_kv=8, d_ff=32, num_layers=layers, num_heads=2,
                         decoder_start_token_id=pad, pad_token_id=pad, eos_token_id=1)
    return tf.T5Model(config)


def build(kind, folder, layers=2, seed=0):
    """Write a tiny pretrained model of architecture `kind` to `folder`, and give the folder."""
    import torch

    t = tokenizer(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pad = t.pad_token_id
        net = network(kind, len(t), pad, layers)
    folder = Path(folder)
    net.save_pretrained(folder)
    t.save_pretrained(folder)
    return folder
