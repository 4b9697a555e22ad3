"""All proofs."""
import buffers
import control_port
import memory_port
import sequence
import systolic

PROOFS = (*buffers.PROOFS, *memory_port.PROOFS, *control_port.PROOFS, *sequence.PROOFS, *systolic.PROOFS)
