"""SASRec: the next video from the order of those before, by a causal transformer.

Kang and McAuley, Self-attentive sequential recommendation, ICDM 2018, with a softmax over the catalogue in place of one
sampled negative. With z_t the token at position t, z_1 the start, and e, p the embeddings of tokens and positions:

    h_t = norm(Blocks(e[z_1] + p_1, ..., e[z_t] + p_t)_t)        score of video i next = h_t . e[i]

`loss: gbce` with many negatives makes it gSASRec (`models.sequence_network`).
"""

from models.params import SasRecParams
from models.sequence_model import SequenceModel
from models.transformer import Transformer


class SasRec(SequenceModel[SasRecParams]):
    """A viewer's vector is the transformer's state after the newest event. A `models.protocol.Recommender`."""

    NAME = "sasrec"
    PARAMS = SasRecParams

    def _new_network(self) -> Transformer:
        return Transformer(self.params, self._n_videos, name=self.NAME, causal=True)
