"""A Hugging Face folder as GGUF, by llama.cpp's converter: an independent account of how such files are laid out."""

import logging
import sys


class Converter:
    """`source`: llama.cpp's source tree."""

    def __init__(self, source):
        sys.path[:0] = [str(source), str(source / "gguf-py")]
        logging.disable(logging.WARNING)
        import conversion
        import gguf

        self.conversion = conversion
        self.gguf = gguf

    def convert(self, folder, out):
        """In float32. The vocabulary is made up: the converter knows tokenizers by what they make of a text, and not this one."""
        base = self.conversion.ModelBase
        settings = base.load_hparams(folder, False)
        architecture = self.conversion.get_model_architecture(settings, self.conversion.ModelType.TEXT)
        model_class = self.conversion.get_model_class(architecture)

        class WithOwnVocabulary(model_class):
            model_arch = model_class.model_arch

            def set_vocab(self):
                size = self.hparams["vocab_size"]
                self.gguf_writer.add_tokenizer_model("gpt2")
                self.gguf_writer.add_tokenizer_pre("gpt-2")
                self.gguf_writer.add_token_list(["a", "b", "ab"] + [f"<{i}>" for i in range(3, size)])
                self.gguf_writer.add_token_types([1] * size)
                self.gguf_writer.add_token_merges(["a b"])

        out.unlink(missing_ok=True)
        WithOwnVocabulary(folder, self.gguf.LlamaFileType.ALL_F32, out).write()
